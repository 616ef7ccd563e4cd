"""A node whose disk is lost comes back by the steps of docs/operating.md, and by no fewer of them."""

import asyncio
import time
from pathlib import Path

import pytest

import replicator
from replicator.dev import LocalCluster, plan_cluster
from replicator.model.ids import NodeId
from tests.support.real_nodes import until_ready

pytestmark = pytest.mark.process

KEYS = 50
WAIT_S = 20.0


async def until_all_hold_one_more_write(cluster: LocalCluster, client: replicator.Client) -> None:
    """Step 2: after one write, all nodes that run follow one leader with a lag of 0."""
    await client.put(b"step", b"2")
    deadline_s = time.monotonic() + WAIT_S
    while True:
        statuses = (await cluster.statuses()).values()
        leaders = {status.leader_id for status in statuses}
        if len(leaders) == 1 and min(s.applied_index for s in statuses) >= max(s.commit_index for s in statuses):
            return
        assert time.monotonic() < deadline_s, statuses
        await asyncio.sleep(0.05)


async def test_a_node_with_a_lost_disk_comes_back_by_the_steps_of_the_page(tmp_path: Path) -> None:
    """It holds what the others hold, although it began with nothing."""
    async with LocalCluster(plan_cluster(tmp_path, ["eu", "us", "ap"])) as cluster:
        leader = await cluster.leader()
        lost = next(node_id for node_id in cluster.nodes if node_id != leader)
        async with replicator.connect(cluster.endpoints()) as client:
            for number in range(KEYS):
                await client.put(b"key/%d" % number, b"value")

            await cluster.nodes[lost].kill9()  # 1: it stays down, the others are up
            await until_all_hold_one_more_write(cluster, client)  # 2
            plan = cluster.nodes[lost].plan
            plan.data_dir.rename(tmp_path / "lost")  # 3
            cluster.nodes[lost].start()
            await until_ready(plan)  # 4
            await until_all_hold_one_more_write(cluster, client)
            assert "its data were lost or replaced" in cluster.nodes[leader].plan.log_file.read_text()

        hashes = [(await cluster.status(NodeId(node_id), state_hash=True)).state_hash for node_id in cluster.nodes]
        assert len(set(hashes)) == 1
        assert (await cluster.status(lost)).live_keys == KEYS + 1
