"""Members change while real processes serve: grown, shrunk, replaced, observed, and no acknowledged write is lost."""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import replicator
from replicator.dev import LocalCluster, NodePlan, plan_cluster
from replicator.model.errors import ReplicatorError
from replicator.model.ids import NodeId
from replicator.model.values import MemberStatus
from tests.support.load import Load, all_pairs, load_on
from tests.support.real_nodes import Ended, http_get, run_cli, stopped, until, until_ready

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
REGIONS = ["eu", "us", "ap"]
WAIT_S = 60.0


async def roles(cluster: LocalCluster) -> dict[str, str]:
    """As the leader sees them."""
    members = (await cluster.status(await cluster.leader(timeout_s=20))).members
    return {member.node_id: member.role for member in members}


async def until_members(cluster: LocalCluster, condition: Callable[[dict[str, MemberStatus]], bool], what: str) -> None:
    """Waits for what the leader sees of its members."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        seen = {}
        with suppress(ReplicatorError):  # the leader may change while it is asked
            members = (await cluster.status(await cluster.leader(timeout_s=WAIT_S))).members
            seen = {member.node_id: member for member in members}
        if seen and condition(seen):
            return
        assert time.monotonic() < deadline_s, f"not within {WAIT_S:g} s: {what}: {seen}"
        await asyncio.sleep(0.02)


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
    """Also the one that led. The old one, should it come back, is not accepted again."""
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
        await until_members(cluster, lambda seen: seen["sa-1"].role == "voter", "sa-1 votes")
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
        await until_members(cluster, lambda seen: not seen[dead].connected, "the link to the dead one falls")

        refused = await cli(cluster, "member", "remove", living)
        assert (refused.code, refused.stdout) == (1, "")
        assert refused.stderr.startswith(f"replicator: UNSAFE: {living} is not removed")

        assert (await cli(cluster, "member", "remove", dead)).code == 0, "the dead one may go"
        assert sorted(await roles(cluster)) == sorted([leader, living])


async def test_a_living_voter_is_not_removed_while_another_hangs(tmp_path: Path) -> None:
    """Its link stays up for seconds. Neither the command nor, when forced, the leader takes it for one that counts."""
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        leader = await cluster.leader()
        hung, living = (node_id for node_id in cluster.nodes if node_id != leader)
        remove = ("member", "remove", living, "--endpoints", cluster.nodes[leader].plan.api)
        with stopped([cluster.nodes[hung].pid]):
            await until_members(cluster, lambda seen: not seen[hung].connected, "the hung one does not count")

            refused = await cli(cluster, *remove)
            assert (refused.code, refused.stdout) == (1, "")
            assert refused.stderr.startswith(f"replicator: UNSAFE: {living} is not removed")
            forced = await cli(cluster, *remove, "--force")
            assert (forced.code, forced.stdout) == (1, "")
            assert forced.stderr.startswith("replicator: NO_MAJORITY: ")

        await until_members(cluster, lambda seen: seen[hung].connected, "it answers again")
        assert (await cli(cluster, *remove)).code == 0
        assert sorted(await roles(cluster)) == sorted([leader, hung])


async def test_a_node_that_is_removed_and_runs_on_says_that_it_is_no_member(tmp_path: Path) -> None:
    """Also after a restart: nobody sends it anything, and who is asked refuses it."""
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        leader = await cluster.leader()
        removed = next(process for node_id, process in cluster.nodes.items() if node_id != leader)
        await until_ready(removed.plan)

        assert (await cli(cluster, "member", "remove", removed.plan.id)).code == 0

        await until_told_removed(removed.plan)
        shown = await asyncio.to_thread(run_cli, "status", "--all", "--endpoints", removed.plan.api)
        assert "not a member (membership of index " in shown.stdout, shown

        assert await removed.terminate() == 0
        removed.start()
        await until_told_removed(removed.plan)
        await cluster.until_serving(WAIT_S)  # what `replicator dev` waits for, which starts removed nodes as well


async def until_told_removed(node: NodePlan) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while True:
        status, body = await http_get(node.admin, "/readyz")
        if "rejected by " in body:
            assert status == 503
            return
        assert time.monotonic() < deadline_s, f"not within {WAIT_S:g} s: {status} {body}"
        await asyncio.sleep(0.05)


async def test_a_node_that_was_killed_while_it_joined_goes_on(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        async with replicator.connect(cluster.endpoints()) as client:
            for number in range(200):
                await client.put(b"key/%d" % number, b"x" * 1000)
        joining = asyncio.create_task(cluster.add_node("sa"))
        try:
            await until_members(cluster, lambda seen: "sa-1" in seen, "sa-1 is taken in")
            process = cluster.nodes[NodeId("sa-1")]
            await process.kill9()
            process.start()
        finally:
            await asyncio.gather(joining, return_exceptions=True)

        await until_members(cluster, lambda seen: seen["sa-1"].role == "voter", "sa-1 votes")


async def test_a_node_that_moved_tells_the_group_where_it_is(tmp_path: Path) -> None:
    """Its row in its own file is enough, once the group knows its members by itself."""
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        added = await cluster.add_node("sa")
        await added.terminate()
        _, twin = cluster.plan.with_node("sa")  # for ports that are free
        text = added.plan.config_file.read_text()
        for field in ("api", "peer"):
            text = text.replace(getattr(added.plan, field), getattr(twin, field))
        added.plan.config_file.write_text(text)

        added.start()

        def knows_it(seen: dict[str, MemberStatus]) -> bool:
            mine = seen["sa-1"]
            return (mine.api_address, mine.peer_address, mine.connected) == (twin.api, twin.peer, True)

        await until_members(cluster, knows_it, "the group knows where sa-1 is")
