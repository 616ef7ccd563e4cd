"""Members change while real processes serve: grown, shrunk, replaced, observed, and no acknowledged write is lost."""

import asyncio
import os
from pathlib import Path

import pytest

import replicator
from replicator.dev import LocalCluster, plan_cluster
from replicator.model.errors import ReplicatorError
from replicator.model.ids import NodeId
from tests.integration.test_node_lifecycle import Load, all_pairs, load_on
from tests.support.real_nodes import Ended, run_cli, until, until_ready

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
REGIONS = ["eu", "us", "ap"]


async def roles(cluster: LocalCluster) -> dict[str, str]:
    """As the leader sees them."""
    members = (await cluster.status(await cluster.leader(timeout_s=20))).members
    return {member.node_id: member.role for member in members}


async def cli(cluster: LocalCluster, *arguments: str) -> Ended:
    environment = {**os.environ, "REPLICATOR_ENDPOINTS": ",".join(cluster.endpoints())}
    return await asyncio.to_thread(run_cli, *arguments, "--timeout", "20", environment=environment)


async def more_writes(load: Load, count: int = 30) -> None:
    before = len(load.acknowledged)
    await until(lambda: len(load.acknowledged) > before + count, "load")


async def test_a_cluster_grows_to_five_and_shrinks_to_three_under_load(tmp_path: Path) -> None:
    """No write fails, and none that was acknowledged is gone."""
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        founders = list(cluster.nodes)
        async with load_on(cluster.endpoints()) as load:
            await more_writes(load)
            for region in ("eu", "us"):
                await cluster.add_node(region)
                await more_writes(load)
            assert list((await roles(cluster)).values()) == ["voter"] * 5
            for node_id in founders[:2]:  # one of them leads, perhaps
                removed = await cli(cluster, "member", "remove", node_id)
                assert removed.code == 0, removed
                await cluster.nodes[node_id].terminate()
                await more_writes(load)
        assert load.failures == []
        assert sorted(await roles(cluster)) == ["ap-1", "eu-2", "us-2"]
        for endpoint in cluster.endpoints():
            assert load.acknowledged.items() <= (await all_pairs(endpoint, b"load/")).items()


async def test_one_command_replaces_a_dead_node(tmp_path: Path) -> None:
    """Also the one that led. The old one, should it come back, is not let in again."""
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        dead = await cluster.leader()
        async with load_on(cluster.endpoints()) as load:
            await more_writes(load)
            await cluster.nodes[dead].kill9()

            added = await cluster.add_node("us", replaced=dead, timeout_s=60)

            await more_writes(load)
        assert load.failures == []
        names = await roles(cluster)
        assert (len(names), dead in names, names[added.plan.id]) == (3, False, "voter")

        await added.terminate()  # the same flags again do nothing more
        index = (await cluster.status(await cluster.leader(timeout_s=20))).membership_index
        added.start()
        await until_ready(added.plan)
        assert (await cluster.status(added.plan.id)).membership_index == index

        leader_before = await cluster.leader()
        cluster.nodes[dead].start()
        async with replicator.connect([cluster.nodes[leader_before].plan.api]) as client:
            for number in range(50):
                await client.put(b"after", b"%d" % number)
        assert dead not in await roles(cluster)


async def test_an_observer_serves_reads_never_counts_and_can_be_promoted(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        observer = await cluster.add_node("sa", observer=True)
        assert (await roles(cluster))["sa-1"] == "observer"
        async with replicator.connect([observer.plan.api], "sa") as client:
            put = await client.put(b"k", b"v")
            got = await client.get(b"k", token=put.token)
            assert (got.value, got.region) == (b"v", "sa")

        refused = await cli(cluster, "leader", "transfer", "--to", "sa-1")
        assert refused.code == 1, refused
        assert (await cli(cluster, "member", "promote", "sa-1")).code == 0
        async with asyncio.timeout(30):
            while (await roles(cluster))["sa-1"] != "voter":
                await asyncio.sleep(0.05)
        moved = await cli(cluster, "leader", "transfer", "--region", "sa")
        assert moved == Ended(0, "leader=sa-1\n", "")
        assert (await cli(cluster, "member", "demote", "sa-1")).code == 0, "it leads: it hands over first"
        assert (await roles(cluster))["sa-1"] == "observer"
        assert await cluster.leader(timeout_s=20) != "sa-1"


async def test_a_living_voter_is_not_removed_while_another_is_dead(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        leader = await cluster.leader()
        dead, living = (node_id for node_id in cluster.nodes if node_id != leader)
        await cluster.nodes[dead].kill9()
        async with asyncio.timeout(30):
            while any(m.connected for m in (await cluster.status(leader)).members if m.node_id == dead):
                await asyncio.sleep(0.05)

        refused = await cli(cluster, "member", "remove", living)
        assert (refused.code, refused.stdout) == (1, "")
        assert refused.stderr.startswith(f"replicator: UNSAFE: {living} is not removed")

        assert (await cli(cluster, "member", "remove", dead)).code == 0, "the dead one may go"
        assert sorted(await roles(cluster)) == sorted([leader, living])


async def test_a_node_that_was_killed_while_it_joined_goes_on(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        async with replicator.connect(cluster.endpoints()) as client:
            for number in range(200):
                await client.put(b"key/%d" % number, b"x" * 1000)
        joining = asyncio.create_task(cluster.add_node("sa"))
        try:
            async with asyncio.timeout(30):
                while "sa-1" not in await roles(cluster):
                    await asyncio.sleep(0)
            process = cluster.nodes[NodeId("sa-1")]
            await process.kill9()
            process.start()
        finally:
            await asyncio.gather(joining, return_exceptions=True)

        async with asyncio.timeout(60):
            while (await roles(cluster)).get("sa-1") != "voter":
                await asyncio.sleep(0.05)


async def test_a_node_that_moved_tells_the_group_where_it_is(tmp_path: Path) -> None:
    """Its row in its own file is enough, once the group knows its members by itself."""
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        added = await cluster.add_node("sa")
        await added.terminate()
        moved, twin = cluster.plan.with_node("sa")  # for ports that are free
        del moved
        text = added.plan.config_file.read_text()
        for field in ("api", "peer"):
            text = text.replace(getattr(added.plan, field), getattr(twin, field))
        added.plan.config_file.write_text(text)

        added.start()

        async with asyncio.timeout(60):
            while True:
                try:
                    members = (await cluster.status(await cluster.leader(timeout_s=20))).members
                except ReplicatorError:
                    continue
                mine = next(member for member in members if member.node_id == "sa-1")
                if (mine.api_address, mine.peer_address, mine.connected) == (twin.api, twin.peer, True):
                    break
                await asyncio.sleep(0.05)
