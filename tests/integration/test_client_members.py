"""The SDK and the group: members are changed from anywhere, and the client follows whom the group consists of."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import replicator
from replicator.v1 import cluster_pb2
from tests.support.api_nodes import ApiNode, serving
from tests.support.memory_cluster import MemoryCluster
from tests.support.real_nodes import until


@asynccontextmanager
async def three_and_a_stranger() -> AsyncIterator[list[ApiNode]]:
    """Members n1 (leads), n2, n3; n4 serves, too, and is none."""
    cluster = MemoryCluster()
    for node_id, region in (("n1", "eu"), ("n2", "us"), ("n3", "ap")):
        cluster.add(node_id, region)
    cluster.add_unknown("n4", "ap")
    async with serving(cluster) as nodes:
        yield nodes


async def take_in(client: replicator.Client, api: ApiNode, role: str = "voter") -> replicator.MembershipResult:
    node = api.node
    return await client.set_member(
        node.node_id,
        region=node.region,
        peer_address="127.0.0.1:7",
        api_address=api.address,
        role=role,  # type: ignore[arg-type]  # what is no role is a case, too
    )


async def test_a_member_is_added_promoted_demoted_and_removed_through_any_node() -> None:
    async with three_and_a_stranger() as nodes, replicator.connect([nodes[2].address]) as client:
        added = await take_in(client, nodes[3], "observer")
        assert {member.node_id: member.role for member in added.members}["n4"] == "observer"

        await take_in(client, nodes[3], "voter")
        await until(lambda: "n4" in nodes[0].node.cluster.membership.voters, "n4 to vote")
        members = await client.members()
        assert [(m.node_id, m.region, m.api_address, m.role) for m in members][3] == (
            "n4",
            "ap",
            nodes[3].address,
            "voter",
        )

        removed = await client.remove_member("n4")
        assert [member.node_id for member in removed.members] == ["n1", "n2", "n3"]
        assert removed.index > added.index
        assert (await client.remove_member("n4")).index == removed.index


async def test_members_are_asked_of_the_leader_who_alone_knows_how_far_each_is() -> None:
    async with three_and_a_stranger() as nodes, replicator.connect([nodes[1].address], "us") as client:
        assert [member.lag_entries for member in await client.members()] == [0, 0, 0]


async def test_a_member_that_was_added_is_found_and_one_that_was_removed_is_forgotten() -> None:
    async with three_and_a_stranger() as (n1, n2, _n3, n4), replicator.connect([n1.address], "us") as client:
        known = client._directory
        assert n2.address in known.addresses

        await take_in(client, n4)
        await until(lambda: n4.address in known.addresses, "the client to look again")
        await client.remove_member("n2")
        await until(lambda: n2.address not in known.addresses, "the client to look again")

        assert (await client.get(b"k")).node_id != "n2"


async def test_a_node_that_was_removed_is_not_asked_although_its_address_was_given() -> None:
    """It answers, and knows nothing of what happened since."""
    async with three_and_a_stranger() as (n1, n2, *_), replicator.connect([n2.address, n1.address], "us") as client:
        assert (await client.get(b"k")).node_id == "n2"

        await client.remove_member("n2")
        await until(lambda: client._directory.for_reads()[-1] == n2.address, "the client to look again")

        await client.put(b"k", b"v")
        assert (await client.get(b"k")).value == b"v"


async def test_a_reply_that_is_lost_is_asked_for_again() -> None:
    async with three_and_a_stranger() as nodes, replicator.connect([nodes[0].address]) as client:
        for api in nodes:
            api.disturbance.lose_replies(1, "SetMember")
            api.disturbance.lose_replies(1, "RemoveMember")

        added = await take_in(client, nodes[3], "observer")
        assert len(added.members) == 4
        assert len((await client.remove_member("n4")).members) == 3


async def test_a_change_that_stands_in_the_way_is_waited_for() -> None:
    async with three_and_a_stranger() as nodes, replicator.connect([nodes[0].address]) as client:
        for api in nodes:
            api.node.raises.append(replicator.ChangeInProgress("another one", retry_after_s=0.01))
        assert len((await take_in(client, nodes[3])).members) == 4


async def test_leadership_moves_to_whom_the_caller_names() -> None:
    async with three_and_a_stranger() as nodes, replicator.connect([nodes[0].address]) as client:
        assert await client.transfer_leadership("n3") == "n3"
        assert await client.transfer_leadership(region="us") == "n2"
        assert await client.transfer_leadership() != "n2"
        with pytest.raises(replicator.InvalidArgument, match="n4 is not a voter"):
            await client.transfer_leadership(to="n4")
        with pytest.raises(replicator.InvalidArgument, match="not both"):
            await client.transfer_leadership("n1", "eu")


async def test_removing_the_leader_through_itself_leaves_another_one() -> None:
    async with three_and_a_stranger() as nodes, replicator.connect([nodes[0].address]) as client:
        result = await client.remove_member("n1")

        assert [member.node_id for member in result.members if member.leader] == ["n2"]
        assert (await client.put(b"k", b"v")).revision == 1


async def test_bad_arguments_name_their_field() -> None:
    async with three_and_a_stranger() as nodes, replicator.connect([nodes[0].address]) as client:
        with pytest.raises(replicator.InvalidArgument) as caught:
            await take_in(client, nodes[3], "joining")
        assert caught.value.metadata["field"] == "role"
        with pytest.raises(replicator.InvalidArgument) as caught:
            await client.remove_member("Nobody")
        assert caught.value.metadata["field"] == "node_id"
        with pytest.raises(replicator.InvalidArgument, match="an address of n4"):
            await client.set_member(
                "n4", region="ap", peer_address="127.0.0.1:7", api_address=nodes[0].address, role="voter"
            )


async def test_a_role_that_the_node_does_not_know_is_refused_not_guessed() -> None:
    """As another language, or a newer release, would send it."""
    async with three_and_a_stranger() as nodes, replicator.connect([nodes[0].address]) as client:
        request = cluster_pb2.SetMemberRequest(
            node_id="n4", region="ap", peer_address="127.0.0.1:7", api_address="127.0.0.1:8"
        )
        with pytest.raises(replicator.InvalidArgument, match="role is 0"):
            await client._change(request, lambda c, r, t: c.cluster.SetMember(r, timeout=t), 1.0)
