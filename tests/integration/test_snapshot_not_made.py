"""Nodes whose disks have no room for a snapshot that another one needs say so, and serve it once there is room."""

import asyncio
import os
from pathlib import Path

import pytest

import replicator
from tests.support.lacking import a_node_that_lacks_entries
from tests.support.real_nodes import http_get, run_cli
from tests.support.shims import built_shim

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

CONDITION = "a snapshot could not be made"
SAID_S = 90.0


async def test_sources_without_room_are_told_and_the_node_catches_up_when_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first write to a snapshot on, the disk is full for the process that makes it."""
    full, met = tmp_path / "full", tmp_path / "met"
    monkeypatch.setenv("LD_PRELOAD", str(built_shim("full_disk_shim", tmp_path)))
    monkeypatch.setenv("FULL_SHIM_FROM", str(full))
    monkeypatch.setenv("FULL_SHIM_UNDER", "/snapshots/")
    monkeypatch.setenv("FULL_SHIM_MET", str(met))
    async with a_node_that_lacks_entries(tmp_path, value=os.urandom(1 << 16)) as lacking:
        others = [node.plan for node in lacking.cluster.nodes.values() if node is not lacking.node]
        full.write_text("1")
        lacking.node.start()

        async def problem_of(api: str) -> str:
            async with replicator.connect([api], timeout_s=30.0) as client:
                return (await client.status(api)).snapshot_problem

        async def until_said() -> None:
            while True:
                problems = [await problem_of(plan.api) for plan in others]
                if all(problem.startswith(CONDITION) for problem in problems):
                    return
                await asyncio.sleep(0.1)

        await asyncio.wait_for(until_said(), SAID_S)
        assert "/snapshots/" in met.read_text()
        for plan in others:
            code, body = await http_get(plan.admin, "/readyz")
            assert (code, f"; {CONDITION}: " in body) == (200, True), body
            assert "No space left on device" in body
            metrics = (await http_get(plan.admin, "/metrics"))[1].splitlines()
            for gauge, value in (("cannot_make_snapshot", "1.0"), ("lacks_snapshot", "0.0")):
                shown = next(line for line in metrics if line.startswith(f"replicator_storage_{gauge}"))
                assert shown.endswith(f" {value}"), shown
        shown = (await asyncio.to_thread(run_cli, "status", "--endpoints", others[0].api, "--all")).stdout
        assert "".join(CONDITION.split()) in "".join(shown.split()), shown

        full.unlink()
        await lacking.until_caught_up()
        assert any("a snapshot could be made again" in plan.log_file.read_text() for plan in others)
        for plan in others:
            lines = [line for line in plan.log_file.read_text().splitlines() if CONDITION in line and " ERROR " in line]
            assert len(lines) == 1, "said once"
