"""Nodes that all wait for a group which nobody founds say so; one that is started without --join founds it."""

from pathlib import Path

import pytest

from replicator.dev import NodeProcess
from tests.support.real_nodes import three_regions, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
WAIT_S = 60.0


async def test_nodes_that_were_all_started_with_join_say_that_no_group_exists_yet(tmp_path: Path) -> None:
    nodes = [NodeProcess(plan, ["--join"]) for plan in three_regions(tmp_path).nodes]
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            await until(lambda: "no group exists yet" in node.log_tail(200), "the remedy", WAIT_S)  # noqa: B023
            assert node.log_tail(200).count("no group exists yet") == 1
            assert node.alive
    finally:
        for node in nodes:
            node.kill_now()
