"""Real processes: two of three voters are killed for good. Callers, probes, status and the log say who is missing."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import replicator
from replicator.dev import LocalCluster, plan_cluster
from replicator.model.errors import ReplicatorError
from replicator.model.ids import NodeId
from replicator.model.values import Consistency
from tests.support.real_nodes import http_get, run_cli, tail_of, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

EU, US, AP = NodeId("eu-1"), NodeId("us-1"), NodeId("ap-1")
MISSING = (
    r"2 of 3 voters are not connected \(ap-1 for \d+ s, us-1 for \d+ s\); a majority needs 2; if they are lost for "
    r"good see docs/operating\.md, a majority is lost for good"
)


async def until_says(ask: Callable[[], Awaitable[str]], pattern: str, within_s: float = 60.0) -> str:
    """What is said once it matches."""
    said = ""
    async with asyncio.timeout(within_s):
        while not re.search(pattern, said):
            await asyncio.sleep(0.2)
            said = await ask()
    return said


async def test_callers_probes_status_and_log_name_the_voters_that_are_missing(tmp_path: Path) -> None:
    plan = plan_cluster(tmp_path, ["eu", "us", "ap"])
    (eu,) = [node for node in plan.nodes if node.id == EU]
    async with LocalCluster(plan) as cluster, replicator.connect([eu.api], "eu") as client:
        await client.put(b"k", b"v")

        async def refused(call: Callable[[], Awaitable[object]]) -> str:
            try:
                await call()
            except ReplicatorError as error:
                return error.message
            return ""

        async def ready() -> str:
            return (await http_get(eu.admin, "/readyz"))[1]

        assert "no majority" not in await ready()
        for name in (US, AP):
            await cluster.nodes[name].kill9()

        await until_says(lambda: refused(lambda: client.put(b"k", b"w", timeout_s=3.0)), MISSING)
        reading = Consistency.LINEARIZABLE
        await until_says(lambda: refused(lambda: client.get(b"k", consistency=reading, timeout_s=3.0)), MISSING)
        await until_says(ready, f"ready: no leader known; no majority: {MISSING}")
        status = await asyncio.to_thread(run_cli, "status", "--endpoints", eu.api, "-o", "json")
        assert re.search(f'"no_majority": "{MISSING}"', status.stdout), status
        await until(lambda: bool(re.search(f"no majority: {MISSING}", tail_of(eu.log_file))), "a line in the log", 90.0)

        cluster.nodes[US].start()
        await until_says(ready, "ready: leader ")
        assert "no majority" not in await ready()
        await client.put(b"k", b"back", timeout_s=20.0)
        await until(lambda: "a majority is connected again after" in tail_of(eu.log_file), "another line", 30.0)
