"""A node that was away for longer than the log reaches comes back by a snapshot, while the others keep serving."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

import replicator
from replicator.dev import LocalCluster, plan_cluster
from replicator.model.ids import NodeId
from replicator.model.values import NodeStatus

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

WRITES = 400


async def standing_alike(cluster: LocalCluster) -> dict[NodeId, NodeStatus]:
    """Status with state hash of every node, once all stand at one index."""
    while True:
        statuses = await cluster.statuses()
        if len(statuses) == len(cluster.nodes) and len({s.applied_index for s in statuses.values()}) == 1:
            hashed = {name: await cluster.status(name, state_hash=True) for name in cluster.nodes}
            if len({s.applied_index for s in hashed.values()}) == 1:
                return hashed
        await asyncio.sleep(0.05)


async def write_one_by_one(client: replicator.Client, first: int, count: int) -> None:
    """One entry a write: nothing to share a turn with."""
    for number in range(first, first + count):
        await client.put(b"key/%06d" % number, b"%d" % number, timeout_s=20.0)


@pytest.mark.parametrize(
    ("wiped", "log_entries_max"), [(False, 64), (True, 64), (True, 100_000)], ids=["behind", "wiped", "wiped-whole-log"]
)
async def test_a_node_that_lacks_entries_comes_back(tmp_path: Path, wiped: bool, log_entries_max: int) -> None:
    """By a snapshot if they are compacted away, by the log if not; it holds everything then, and goes on from there."""
    plan = replace(
        plan_cluster(tmp_path, ["eu", "us", "ap"], profile="lan"),
        more_toml=f"[storage]\nlog_entries_max = {log_entries_max}\n",
    )
    async with LocalCluster(plan) as cluster, replicator.connect(cluster.endpoints()) as client:
        await write_one_by_one(client, 0, 20)
        leader = await cluster.leader()
        away = next(name for name in cluster.nodes if name != leader)
        await cluster.nodes[away].kill9()
        if wiped:
            for file in cluster.nodes[away].plan.data_dir.iterdir():
                file.unlink()
        await write_one_by_one(client, 20, WRITES)
        cluster.nodes[away].start()
        writing = asyncio.create_task(write_one_by_one(client, 20 + WRITES, 200))
        await cluster.until_serving(60.0)
        await writing

        statuses = await standing_alike(cluster)
        assert len({(s.rolling_hash, s.state_hash) for s in statuses.values()}) == 1
        log = cluster.nodes[away].plan.log_file.read_text()
        assert ("snapshot installed" in log) == (log_entries_max < WRITES)
        if wiped:
            assert "its data were lost or replaced" in cluster.nodes[leader].plan.log_file.read_text()
        async with replicator.connect([cluster.nodes[away].plan.api]) as reader:
            assert len([pair async for pair in reader.scan(prefix=b"key/")]) == 20 + WRITES + 200
        assert not list(cluster.nodes[away].plan.data_dir.glob("incoming/*")), "nothing is left lying about"
