"""Real processes: nodes that have lost their disks, or were never accepted, found no second group beside the first."""

import shutil
from pathlib import Path

import pytest

import replicator
from replicator.dev import LocalCluster, NodeProcess, plan_cluster
from replicator.model.ids import NodeId
from tests.support.real_nodes import until

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

REGIONS = ("eu", "us", "ap")
EU, US, AP = NodeId("eu-1"), NodeId("us-1"), NodeId("ap-1")


async def a_cluster_that_loses_two_disks(cluster: LocalCluster, survivor: NodeId) -> list[NodeId]:
    """All hold `before`; then two are killed, and their data are gone. Returns these."""
    async with replicator.connect(cluster.endpoints()) as client:
        put = await client.put(b"before", b"1")
        for endpoint in cluster.endpoints():
            async with replicator.connect([endpoint]) as one:
                assert (await one.get(b"before", token=put.token)).value == b"1"
    wiped = [name for name in cluster.nodes if name != survivor]
    for name in wiped:
        await cluster.nodes[name].kill9()
        shutil.rmtree(cluster.nodes[name].plan.data_dir)
    return wiped


def log_of(cluster: LocalCluster, name: NodeId) -> str:
    return cluster.nodes[name].plan.log_file.read_text()


@pytest.mark.parametrize("survivor", [AP, EU, US])
async def test_nodes_that_a_group_keeps_out_elect_nobody(tmp_path: Path, survivor: NodeId) -> None:
    """Two of three would be a majority by their files. On both sides of a pair: dialling or not."""
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        wiped = await a_cluster_that_loses_two_disks(cluster, survivor)
        index = (await cluster.status(survivor)).membership_index
        for name in wiped:
            cluster.nodes[name].start()
        for name in wiped:
            await until(lambda name=name: "does not vote or campaign" in log_of(cluster, name), "both to be rejected")  # type: ignore[misc]
        for name in wiped:
            status = await cluster.status(name)
            assert (status.role, status.leader_id, status.membership_index) == ("follower", "", 0)
            assert "OTHER_DIRECTORY" in log_of(cluster, name)
        kept = await cluster.status(survivor)
        assert (kept.membership_index, kept.live_keys) == (index, 1)


async def test_a_node_that_was_rejected_joins_once_it_is_told_to(tmp_path: Path) -> None:
    """As the refusal says; what it was started with first is forgiven."""
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        leader = await cluster.leader()
        lost = next(name for name in cluster.nodes if name != leader)
        await cluster.nodes[lost].kill9()
        plan = cluster.nodes[lost].plan
        shutil.rmtree(plan.data_dir)
        cluster.nodes[lost].start()
        await until(lambda: "does not vote or campaign" in log_of(cluster, lost), "the node to be rejected")
        await cluster.nodes[lost].terminate()

        cluster.nodes[lost] = NodeProcess(plan, ["--join"])
        cluster.nodes[lost].start()
        await until(lambda: "full member as voter" in log_of(cluster, lost), "a full member")


async def test_two_groups_of_one_name_never_mix(tmp_path: Path) -> None:
    """The two found a new group while the third one is away, which nobody can prevent. It does not join them then."""
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        wiped = await a_cluster_that_loses_two_disks(cluster, AP)
        await cluster.nodes[AP].terminate()  # killed, it may have forgotten what is committed, until a leader says so
        for name in wiped:
            cluster.nodes[name].start()
        fresh = [cluster.nodes[name].plan.api for name in wiped]
        async with replicator.connect(fresh, timeout_s=60.0) as client:
            for number in range(50):  # the new log is the longer one, and of no older term
                await client.put(b"after", b"%d" % number)
            cluster.nodes[AP].start()
            for name in (EU, US, AP):
                await until(lambda name=name: "OTHER_GROUP" in log_of(cluster, name), "the groups to meet")  # type: ignore[misc]
            await client.put(b"after", b"x")

            old, new = await cluster.status(AP), await cluster.status(EU)
            assert (old.live_keys, new.live_keys) == (1, 1)
            assert old.membership_index > 0
            async with replicator.connect([cluster.nodes[AP].plan.api]) as one:
                kept = await one.get(b"before", consistency=replicator.LOCAL)
                other = await one.get(b"after", consistency=replicator.LOCAL)
                assert (kept.value, other.value) == (b"1", None)
            assert (await client.get(b"before", consistency=replicator.LINEARIZABLE)).value is None
