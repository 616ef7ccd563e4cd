"""Real processes: a node whose calendar is ten years ahead leads for a while, and log time takes no harm."""

import asyncio
import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from replicator.client import Client, connect
from replicator.core.log_clock import CORRECTION_MAX
from replicator.dev import ClusterPlan, NodePlan
from replicator.machine.codec import decode_entry
from replicator.model.ids import ClusterId, LogIndex, NodeId
from replicator.storage.storage import Storage
from tests.support.real_nodes import WAIT_S, start_serve, tail_of, three_regions, until_exit, until_ready
from tests.support.shims import built_shim

pytestmark = pytest.mark.process

TEN_YEARS_S = 315_360_000
WRITES = 20
US, AP = NodeId("us-1"), NodeId("ap-1")


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calendar that is wrong on demand."""
    return built_shim("calendar_shim", tmp_path_factory.mktemp("shim"))


async def written_under(client: Client, leader: NodeId, key: bytes) -> None:
    """Leadership moves there; then some writes that it stamps."""
    async with asyncio.timeout(WAIT_S):
        await client.transfer_leadership(to=leader)
        for number in range(WRITES):
            await client.put(key, b"%d" % number)


def times_in_log(plan: ClusterPlan, node: NodePlan) -> list[tuple[int, int]]:
    """Log time and calendar of each batch that a stopped node holds."""
    cluster_id = ClusterId(plan.cluster_id)
    with closing(
        Storage.open(node.data_dir, cluster_id=cluster_id, node_id=node.id, size_max_bytes=1 << 30)
    ) as storage:
        bounds = storage.load_log()
        entries = storage.read_entries(bounds.first_index, count_max=10_000, bytes_max=1 << 30)
        assert entries[-1].index == bounds.last_index > LogIndex(0)
    batches = [decode_entry(entry.payload) for entry in entries]
    return [(batch.time_ms, batch.wall_ms) for batch in batches if batch is not None]


async def test_a_leader_whose_calendar_is_ten_years_ahead_moves_log_time_by_elapsed_time(
    shim: Path, tmp_path: Path
) -> None:
    plan = three_regions(tmp_path)
    wrong = {**os.environ, "LD_PRELOAD": str(shim), "CALENDAR_SHIM_S": str(TEN_YEARS_S)}
    began_s = time.time()
    processes = [start_serve(node.config_file, node.log_file) for node in plan.nodes[:2]]
    try:
        for node in plan.nodes[:2]:
            await until_ready(node)
        async with connect([node.api for node in plan.nodes]) as client:
            await client.put(b"before", b"1")  # the group begins at a calendar that is right
            processes.append(start_serve(plan.nodes[2].config_file, plan.nodes[2].log_file, wrong))
            await until_ready(plan.nodes[2])
            await written_under(client, AP, b"under a wrong calendar")
            await written_under(client, US, b"after")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            await until_exit(process)
    elapsed_s = time.time() - began_s
    for node in plan.nodes:
        times = times_in_log(plan, node)
        log_times, walls = [log_ms for log_ms, _ in times], [wall_ms for _, wall_ms in times]
        wrong_walls = [wall_ms for wall_ms in walls if wall_ms > (began_s + TEN_YEARS_S / 2) * 1000]
        assert len(wrong_walls) >= WRITES, f"the wrong calendar has not led: {walls}\n{tail_of(plan.nodes[2].log_file)}"
        assert log_times == sorted(log_times)
        assert began_s * 1000 - 1 <= log_times[0]
        assert log_times[-1] <= (began_s + (1 + CORRECTION_MAX) * elapsed_s) * 1000 + 1
