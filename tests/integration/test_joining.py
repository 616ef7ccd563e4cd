"""A node that joins, over real servers and a replicated log in memory: asked, taken in, caught up, a voter."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from replicator.config.load import parse_config
from replicator.config.schema import NodeConfig
from replicator.model.errors import InvalidArgument
from replicator.model.ids import LogIndex, NodeId
from replicator.model.members import MemberRole, Membership
from replicator.node.join import Joiner, Place
from replicator.node.join_plan import JoinOptions
from tests.support.api_nodes import ApiNode, free_address, serving
from tests.support.memory_cluster import MemoryCluster, MemoryNode
from tests.support.real_nodes import until

DISK = b"a disk of its own"[:16]
SEED = 7


@asynccontextmanager
async def a_group(*, promotes: bool = True) -> AsyncIterator[tuple[list[ApiNode], MemoryNode]]:
    """Three members that serve, and a node that is none."""
    cluster = MemoryCluster(promotes=promotes)
    for node_id, region in (("n1", "eu"), ("n2", "us"), ("n3", "ap")):
        cluster.add(node_id, region)
    async with serving(cluster) as nodes:
        yield nodes, cluster.add_unknown("n4", "ap")


def config_of(joining: MemoryNode, group: list[ApiNode]) -> NodeConfig:
    """Its file: the members of the group, and its own row."""
    rows = [
        {"id": api.node.node_id, "region": api.node.region, "peer": f"127.0.0.1:{number}", "api": api.address}
        for number, api in enumerate(group, 1)
    ]
    own = {"id": joining.node_id, "region": joining.region, "peer": "127.0.0.1:9", "api": free_address()}
    raw = {
        "node": {"id": joining.node_id, "region": joining.region, "data_dir": "data"},
        "cluster": {"id": "shop", "secret_file": "cluster.secret", "members": [*rows, own]},
    }
    return parse_config(raw, Path("/base"))


def joiner_of(
    node: MemoryNode,
    group: list[ApiNode],
    options: JoinOptions | None,
    config: NodeConfig | None = None,
    guide: Callable[[Membership], None] = lambda _guide: None,
) -> Joiner:
    place = Place(DISK, node.membership, lambda: node.is_caught_up, guide)
    return Joiner(config or config_of(node, group), place, options, random.Random(SEED))


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "replicator.node.join"]


async def test_a_node_joins_as_a_voter_and_tells_each_step(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with a_group(promotes=False) as (group, node):
        joining = asyncio.create_task(joiner_of(node, group, JoinOptions()).run())
        await until(
            lambda: any("the leader will let this node vote" in line for line in lines(caplog)),
            "the last step",
        )
        mine = node.cluster.membership.get("n4")
        assert mine is not None
        assert (mine.role, mine.directory_id, joining.done()) == (MemberRole.JOINING, DISK, False)

        node.cluster.settle()
        await joining

        assert "n4" in node.cluster.membership.voters
        told = "\n".join(lines(caplog))
        for step in (
            "asking the group",
            "knows this node as joining",
            "catching up",
            "caught up; full member as voter",
        ):
            assert step in told


async def test_a_node_learns_where_those_are_whom_its_file_does_not_name() -> None:
    told: list[Membership] = []
    async with a_group() as (group, node):
        await joiner_of(node, group, JoinOptions(), config_of(node, group[:1]), told.append).run()

        assert [member.node_id for member in told[0].members] == ["n1", "n2", "n3", "n4"]
        assert told[0].index > 0
        for member in told[0].members:
            mine = node.cluster.membership.get(member.node_id)
            assert mine is not None
            assert member.peer_address == mine.peer_address


async def test_an_observer_never_votes() -> None:
    async with a_group() as (group, node):
        await joiner_of(node, group, JoinOptions(observer=True)).run()

        mine = node.membership().get("n4")
        assert mine is not None
        assert mine.role is MemberRole.OBSERVER


async def test_one_command_replaces_a_dead_node() -> None:
    async with a_group() as (group, node):
        dead = group[2]
        await dead.server.stop(0.0)

        await joiner_of(node, group, JoinOptions(replace=NodeId("n3"))).run()

        assert node.cluster.membership.voters == {"n1", "n2", "n4"}


async def test_the_old_node_stays_until_the_new_one_votes() -> None:
    async with a_group(promotes=False) as (group, node):
        joining = asyncio.create_task(joiner_of(node, group, JoinOptions(replace=NodeId("n3"))).run())
        await until(lambda: node.is_caught_up, "the node to catch up")
        assert node.cluster.membership.get("n3") is not None

        node.cluster.settle()
        await joining
        assert node.cluster.membership.get("n3") is None


async def test_running_again_changes_nothing_more() -> None:
    async with a_group() as (group, node):
        config, options = config_of(node, group), JoinOptions(replace=NodeId("n3"))
        await joiner_of(node, group, options, config).run()
        index = node.cluster.membership.index
        for again in (options, JoinOptions(), None):
            await joiner_of(node, group, again, config).run()
        assert node.cluster.membership.index == index
        assert node.cluster.membership.voters == {"n1", "n2", "n4"}


async def test_a_node_that_was_stopped_in_the_middle_goes_on_without_its_flags() -> None:
    async with a_group(promotes=False) as (group, node):
        joining = asyncio.create_task(joiner_of(node, group, JoinOptions()).run())
        await until(lambda: node.is_caught_up, "the node to catch up")
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)

        again = asyncio.create_task(joiner_of(node, group, None).run())
        node.cluster.settle()
        await again

        assert "n4" in node.cluster.membership.voters


async def test_it_asks_until_the_group_can_answer_and_says_each_reason_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals of the group, too: an operator may mend what stands in the way."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("replicator.node.join.ASK_TIMEOUT_S", 0.2)
    async with a_group() as (group, node):
        for api in group:
            api.node.raises.extend(InvalidArgument("a group has at most 9 voters") for _ in range(2))
        group[0].node.cluster.leader = None
        joining = asyncio.create_task(joiner_of(node, group, JoinOptions()).run())
        await until(lambda: len([line for line in lines(caplog) if "asking again" in line]) >= 2, "two refusals")
        node.cluster.leader = group[0].node

        await joining

        reasons = [line.split(": ")[1] for line in lines(caplog) if "asking again" in line]
        assert sorted(reasons) == sorted(set(reasons))
        assert {"INVALID_ARGUMENT", "NO_LEADER"} <= set(reasons)
        assert "n4" in node.cluster.membership.voters


async def test_a_node_that_is_removed_while_it_joins_leaves_it_at_that(caplog: pytest.LogCaptureFixture) -> None:
    """It heard of its removal; asking again would undo what an operator did."""
    async with a_group(promotes=False) as (group, node):
        joining = asyncio.create_task(joiner_of(node, group, JoinOptions()).run())
        await until(lambda: node.is_caught_up, "the node to catch up")

        without = node.known_membership.without(NodeId("n4"))
        node.known_membership = replace(without, index=LogIndex(without.index + 1))
        await joining

        assert any("removed" in line for line in lines(caplog))


async def test_a_node_that_lost_its_disk_meets_its_old_self_and_is_not_fooled() -> None:
    """While it catches up it sees memberships in which its name votes, of before its disk was lost."""
    async with a_group(promotes=False) as (group, node):
        cluster = node.cluster
        n3 = group[2].node
        before = n3.membership()
        fresh = MemoryNode(cluster, n3.node_id, n3.region)
        cluster.nodes[2] = fresh
        joining = asyncio.create_task(joiner_of(fresh, group[:2], JoinOptions()).run())
        await until(lambda: cluster.membership.index > 0, "the group to take it in")
        asked = cluster.membership.get("n3")
        assert asked is not None
        assert (asked.role, asked.directory_id) == (MemberRole.JOINING, DISK)

        fresh.known_membership = before
        for _ in range(3):
            await asyncio.sleep(0.1)
            assert not joining.done()

        fresh.catch_up()
        cluster.settle()
        await joining
        assert "n3" in cluster.membership.voters


async def test_a_member_that_moved_announces_where_it_is_now() -> None:
    async with a_group() as (group, node):
        await joiner_of(node, group, JoinOptions()).run()
        config = config_of(node, group)  # with another free port

        await joiner_of(node, group, None, config).run()

        mine = node.cluster.membership.get("n4")
        assert mine is not None
        assert (mine.api_address, mine.role) == (config.me.api, MemberRole.VOTER)


async def test_a_reply_that_is_lost_does_not_hold_a_node_up() -> None:
    async with a_group() as (group, node):
        for api in group:
            api.disturbance.lose_replies(2, "SetMember")

        await joiner_of(node, group, JoinOptions()).run()

        assert "n4" in node.cluster.membership.voters
