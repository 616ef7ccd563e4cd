"""A node that was away for longer than the log reaches comes back by a snapshot, while the others keep serving."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import replicator
from replicator.dev import LocalCluster, NodeProcess, plan_cluster
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


def text_of(cluster: LocalCluster, node_id: NodeId) -> str:
    return cluster.nodes[node_id].plan.log_file.read_text()


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
            shutil.rmtree(cluster.nodes[away].plan.data_dir)
            cluster.nodes[away].plan.data_dir.mkdir()
            cluster.nodes[away] = NodeProcess(cluster.nodes[away].plan, ["--join"])  # the others know the lost disk
        await write_one_by_one(client, 20, WRITES)
        cluster.nodes[away].start()
        writing = asyncio.create_task(write_one_by_one(client, 20 + WRITES, 200))
        await cluster.until_serving(60.0)
        await writing

        statuses = await standing_alike(cluster)
        assert len({(s.rolling_hash, s.state_hash) for s in statuses.values()}) == 1
        log = cluster.nodes[away].plan.log_file.read_text()
        assert ("snapshot installed" in log) == (log_entries_max < WRITES)
        async with replicator.connect([cluster.nodes[away].plan.api]) as reader:
            assert len([pair async for pair in reader.scan(prefix=b"key/")]) == 20 + WRITES + 200
        assert not list(cluster.nodes[away].plan.data_dir.glob("incoming/*")), "nothing is left lying about"


@pytest.mark.parametrize("neighbour_lives", [True, False], ids=["neighbour", "no-neighbour"])
async def test_a_snapshot_comes_from_the_receivers_own_region_if_one_is_there(
    tmp_path: Path, neighbour_lives: bool
) -> None:
    """The bytes cross regions once, as entries of the log; a second time only if no neighbour has them."""
    plan = replace(
        plan_cluster(tmp_path, ["eu", "us"], nodes=5, profile="lan"),
        more_toml="[storage]\nlog_entries_max = 64\n",
    )
    async with LocalCluster(plan) as cluster, replicator.connect(cluster.endpoints()) as client:
        leader = await lead_from_the_larger_region(cluster)
        neighbour, away = (name for name in cluster.nodes if name.startswith("us"))
        await cluster.nodes[away].kill9()
        await write_one_by_one(client, 0, WRITES)
        if not neighbour_lives:
            await cluster.nodes[neighbour].kill9()
        cluster.nodes[away].start()
        await until_installed(cluster, away)
        source, other = (neighbour, leader) if neighbour_lives else (leader, neighbour)

        assert f"from={source}" in text_of(cluster, away).split("snapshot installed")[1].splitlines()[0]
        assert f"peer={away}" in text_of(cluster, source).split("sent snapshot=")[1].splitlines()[0]
        for name in set(cluster.nodes) - {source}:
            assert "sent snapshot=" not in text_of(cluster, name), name
            assert "snapshot made" not in text_of(cluster, name), name
        if not neighbour_lives:
            cluster.nodes[other].start()
        await cluster.until_serving(60.0)
        statuses = await standing_alike(cluster)
        assert len({(s.rolling_hash, s.state_hash) for s in statuses.values()}) == 1


async def lead_from_the_larger_region(cluster: LocalCluster) -> NodeId:
    """Leaders of the other region are stopped and started again until one of `eu` leads, which has three of five."""
    while not (leader := await cluster.leader(30.0)).startswith("eu"):
        await cluster.nodes[leader].terminate()
        cluster.nodes[leader].start()
        await cluster.until_serving(60.0)
    return leader


async def until_installed(cluster: LocalCluster, node_id: NodeId) -> None:
    while "snapshot installed" not in text_of(cluster, node_id):
        cluster.nodes[node_id].check_alive()
        await asyncio.sleep(0.05)
