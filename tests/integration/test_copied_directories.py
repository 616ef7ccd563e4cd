"""Real processes: of all copies of a data directory one may act, and the others learn that they must not."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

import replicator
from replicator.dev import LocalCluster, NodeProcess, plan_cluster
from replicator.dev.cluster_plan import NodePlan
from replicator.dev.tcp_ports import free_ports
from replicator.model.ids import NodeId
from tests.support.real_nodes import until

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

REGIONS = ("eu", "us", "ap")
ENDS_S = 90.0  # a dead link takes 8 s to show, and the machine may be busy


def at_its_own_address(cluster: LocalCluster, node_id: NodeId, folder: Path) -> NodePlan:
    """A second place for a node: another folder, other ports, its own row of the file changed as for a move."""
    api_port, peer_port, admin_port = free_ports(3)
    original = cluster.nodes[node_id].plan
    copy = replace(original, api_port=api_port, peer_port=peer_port, admin_port=admin_port, folder=folder)
    nodes = tuple(copy if node.id == node_id else node for node in cluster.plan.nodes)
    replace(cluster.plan, nodes=nodes).write_file_of(copy)
    return copy


def copied_while_it_runs(cluster: LocalCluster, node_id: NodeId, folder: Path) -> NodePlan:
    """As a clone of its machine: all files as they are at one moment."""
    process = cluster.nodes[node_id]
    copy = at_its_own_address(cluster, node_id, folder)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        shutil.copytree(process.plan.data_dir, copy.data_dir)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    return copy


async def put_some(cluster: LocalCluster, count: int, prefix: bytes) -> str:
    """Returns the token of the last one."""
    async with replicator.connect(cluster.endpoints(), timeout_s=60.0) as client:
        for number in range(count):
            put = await client.put(prefix + b"%d" % number, b"x")
    return put.token


async def ends_for_good(process: NodeProcess, reason: str) -> None:
    """It stops by itself, says why, and cannot be started again."""
    assert await process.until_dead(ENDS_S) == 70, process.log_tail()
    log = process.plan.log_file.read_text()
    assert reason in log
    assert "must not act" in log
    process.start()
    assert await process.until_dead(ENDS_S) == 2, process.log_tail()
    assert "superseded" in process.log_tail(1)
    assert "replicator export" in process.log_tail(1)


@pytest.mark.parametrize("of_leader", [False, True])
async def test_a_copy_that_runs_beside_its_original_is_refused_and_ends(tmp_path: Path, of_leader: bool) -> None:
    """A cloned machine. The original goes on as if nothing had happened."""
    async with LocalCluster(plan_cluster(tmp_path / "cluster", REGIONS, profile="wan")) as cluster:
        leader = await cluster.leader()
        original = leader if of_leader else next(name for name in cluster.nodes if name != leader)
        await put_some(cluster, 20, b"before/")
        copy = copied_while_it_runs(cluster, original, tmp_path / "copy")
        before = await cluster.status(original)
        process = NodeProcess(copy)
        process.start()
        try:
            token = await put_some(cluster, 50, b"beside/")
            await ends_for_good(process, "COPIED_DIRECTORY")
        finally:
            process.kill_now()
        async with replicator.connect([cluster.nodes[original].plan.api]) as one:
            assert (await one.get(b"beside/49", token=token)).value == b"x"
            after = await one.status(cluster.nodes[original].plan.api)
        assert after.term == before.term, "nobody was disturbed"
        addresses = {member.node_id: member.peer_address for member in after.members}
        assert addresses[original] == cluster.nodes[original].plan.peer, "nor has the group taken its address"


async def test_of_two_copies_of_a_stopped_directory_only_the_first_may_act(tmp_path: Path) -> None:
    """Both have counted the same number of runs."""
    async with LocalCluster(plan_cluster(tmp_path / "cluster", REGIONS)) as cluster:
        leader = await cluster.leader()
        name = next(name for name in cluster.nodes if name != leader)
        await put_some(cluster, 5, b"before/")
        await cluster.nodes[name].terminate()
        copy = at_its_own_address(cluster, name, tmp_path / "copy")
        shutil.copytree(cluster.nodes[name].plan.data_dir, copy.data_dir)
        cluster.nodes[name].start()
        await cluster.until_serving(ENDS_S)

        process = NodeProcess(copy)
        process.start()
        try:
            await ends_for_good(process, "OLD_INCARNATION")
        finally:
            process.kill_now()
        await put_some(cluster, 5, b"after/")


async def test_an_older_copy_that_is_put_back_is_refused_however_often_it_is_started(tmp_path: Path) -> None:
    """And the node comes back with an empty directory, as after a lost disk."""
    async with LocalCluster(plan_cluster(tmp_path / "cluster", REGIONS)) as cluster:
        leader = await cluster.leader()
        name = next(name for name in cluster.nodes if name != leader)
        process = cluster.nodes[name]
        await put_some(cluster, 5, b"before/")
        await process.terminate()
        shutil.copytree(process.plan.data_dir, tmp_path / "backup")
        process.start()
        await cluster.until_serving(ENDS_S)
        token = await put_some(cluster, 20, b"after/")
        await process.terminate()

        shutil.rmtree(process.plan.data_dir)
        shutil.copytree(tmp_path / "backup", process.plan.data_dir)
        process.start()
        await ends_for_good(process, "OLD_INCARNATION")

        shutil.rmtree(process.plan.data_dir)
        cluster.nodes[name] = NodeProcess(process.plan, ["--join"])
        cluster.nodes[name].start()
        await until(lambda: "full member as voter" in cluster.nodes[name].plan.log_file.read_text(), "a full member")
        async with replicator.connect([process.plan.api], timeout_s=60.0) as one:
            assert (await one.get(b"after/19", token=token)).value == b"x"
