"""A node whose disk is lost comes back by the steps of docs/operating.md, and by no fewer of them."""

from pathlib import Path

import pytest

import replicator
from replicator.dev import LocalCluster, NodeProcess, plan_cluster
from replicator.model.ids import NodeId
from tests.support.real_nodes import until

pytestmark = pytest.mark.process

KEYS = 50


async def test_a_node_with_a_lost_disk_comes_back_by_the_steps_of_the_page(tmp_path: Path) -> None:
    """It holds what the others hold, although it began with nothing, and votes only from then on."""
    async with LocalCluster(plan_cluster(tmp_path, ["eu", "us", "ap"])) as cluster:
        leader = await cluster.leader()
        lost = next(node_id for node_id in cluster.nodes if node_id != leader)
        async with replicator.connect(cluster.endpoints()) as client:
            for number in range(KEYS):
                await client.put(b"key/%d" % number, b"value")

            await cluster.nodes[lost].kill9()
            plan = cluster.nodes[lost].plan
            plan.data_dir.rename(tmp_path / "lost")  # 1
            cluster.nodes[lost] = NodeProcess(plan, ["--join"])
            cluster.nodes[lost].start()  # 2
            await until(lambda: "full member as voter" in plan.log_file.read_text(), "a full member")  # 3
            put = await client.put(b"step", b"3")
            for node in cluster.nodes.values():
                async with replicator.connect([node.plan.api]) as one:
                    assert (await one.get(b"step", token=put.token)).value == b"3"

        hashes = [(await cluster.status(NodeId(node_id), state_hash=True)).state_hash for node_id in cluster.nodes]
        assert len(set(hashes)) == 1
        assert (await cluster.status(lost)).live_keys == KEYS + 1
