"""A cluster in which one node is away and lacks what the others have compacted: only a snapshot brings it back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import replicator
from replicator.dev import LocalCluster, NodePlan, NodeProcess, plan_cluster
from tests.support.real_nodes import http_get, run_cli, until

KEEP_ENTRIES = 64
WRITES = 3 * KEEP_ENTRIES
CATCH_UP_S = 90.0


@dataclass(frozen=True)
class Lacking:
    """The node that is away, and what can be seen of it once it is started."""

    cluster: LocalCluster
    node: NodeProcess

    @property
    def plan(self) -> NodePlan:
        return self.node.plan

    def log(self) -> str:
        return self.plan.log_file.read_text()

    async def problem(self) -> str:
        """Of its status."""
        async with replicator.connect([self.plan.api], timeout_s=30.0) as client:
            return (await client.status(self.plan.api)).snapshot_problem

    async def until_problem(self, begins: str) -> str:
        """The first problem of its status, which must begin so."""
        said = ""

        async def look() -> None:
            nonlocal said
            while not said:
                if (await http_get(self.plan.admin, "/readyz"))[0]:
                    said = await self.problem()
                await asyncio.sleep(0.05)

        await asyncio.wait_for(look(), CATCH_UP_S)
        assert said.startswith(begins), said
        return said

    async def assert_said_everywhere(self, said: str) -> None:
        """By `/readyz`, the gauge and `status --all`."""
        code, body = await http_get(self.plan.admin, "/readyz")
        assert (code, said in body) == (503, True), body
        metrics = (await http_get(self.plan.admin, "/metrics"))[1].splitlines()
        gauge = next(line for line in metrics if line.startswith("replicator_storage_lacks_snapshot"))
        assert gauge.endswith(" 1.0"), gauge
        shown = await asyncio.to_thread(run_cli, "status", "--endpoints", self.plan.api, "--all")
        assert "".join(said.split()) in "".join(shown.stdout.split()), shown

    async def until_caught_up(self) -> None:
        """Ready, by a snapshot, with the state of the others; and nothing stands any more."""
        await self.cluster.until_serving(CATCH_UP_S)
        await until(lambda: "snapshot installed" in self.log(), "the snapshot", CATCH_UP_S)
        assert await self.problem() == ""
        await asyncio.wait_for(self._until_alike(), CATCH_UP_S)
        assert not list(self.plan.data_dir.glob("incoming/*")), "nothing is left lying about"

    async def _until_alike(self) -> None:
        while True:
            statuses = (await self.cluster.statuses()).values()
            states = {(status.applied_index, status.rolling_hash) for status in statuses}
            if len(statuses) == len(self.cluster.nodes) and len(states) == 1:
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def a_node_that_lacks_entries(directory: Path, *, value: bytes) -> AsyncIterator[Lacking]:
    """Three nodes; one is killed, and WRITES values are written without it. It is to be started by who asks."""
    more = f"[storage]\nlog_entries_max = {KEEP_ENTRIES}\nlog_mib_max = 16\n"
    plan = replace(plan_cluster(directory, ["eu", "us", "ap"], profile="lan"), more_toml=more)
    async with LocalCluster(plan) as cluster, replicator.connect(cluster.endpoints()) as client:
        await client.put(b"first", b"", timeout_s=20.0)
        leader = await cluster.leader()
        away = next(name for name in cluster.nodes if name != leader)
        await cluster.nodes[away].kill9()
        for number in range(WRITES):
            await client.put(b"key/%06d" % number, value, timeout_s=20.0)
        yield Lacking(cluster, cluster.nodes[away])
