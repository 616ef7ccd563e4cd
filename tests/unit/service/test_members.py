"""Members and leadership as use cases: what is refused here, what waits for its turn, what callers see."""

from dataclasses import replace

import pytest

from replicator.model.errors import ChangeInProgress, DeadlineExceeded, InvalidArgument, NoLeader, OutcomeUnknown
from replicator.model.members import DIRECTORY_ID_BYTES, MemberRole
from replicator.model.values import MembershipResult
from replicator.service.members import WantedMember
from tests.support.memory_cluster import MemoryCluster

N4 = WantedMember("n4", "ap", "127.0.0.1:7104", "127.0.0.1:7004", MemberRole.VOTER)


def three() -> MemoryCluster:
    cluster = MemoryCluster(promotes=False)
    for node_id, region in (("n1", "eu"), ("n2", "us"), ("n3", "ap")):
        cluster.add(node_id, region)
    return cluster


def roles(result: MembershipResult) -> dict[str, str]:
    return {member.node_id: member.role for member in result.members}


async def test_a_new_voter_joins_first_and_votes_once_it_has_caught_up() -> None:
    cluster = three()
    follower = cluster.nodes[1]
    unknown = cluster.add_unknown("n4", "ap")

    result = await follower.members().set_member(N4, timeout_s=1.0)
    assert roles(result) == {"n1": "voter", "n2": "voter", "n3": "voter", "n4": "joining"}
    assert result.index == cluster.membership.index > 0

    cluster.settle()
    status = await unknown.statuses().status(state_hash=False, timeout_s=1.0)
    assert {member.node_id: member.role for member in status.members}["n4"] == "voter"
    assert status.membership_index > result.index


async def test_asking_for_what_is_so_already_changes_nothing() -> None:
    cluster = three()
    service = cluster.nodes[0].members()

    first = await service.set_member(N4, timeout_s=1.0)
    again = await service.set_member(N4, timeout_s=1.0)
    assert (again.index, roles(again)) == (first.index, roles(first))

    gone = await service.remove_member("n4", timeout_s=1.0)
    assert (await service.remove_member("n4", timeout_s=1.0)).index == gone.index


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (replace(N4, node_id=""), "node_id"),
        (replace(N4, node_id="N4"), "node_id"),
        (replace(N4, region="-"), "region"),
        (replace(N4, peer_address="127.0.0.1"), "peer_address"),
        (replace(N4, peer_address="127.0.0.1:0"), "peer_address"),
        (replace(N4, api_address=":7001"), "api_address"),
        (replace(N4, api_address="h" * 260 + ":1"), "api_address"),
        (replace(N4, api_address=N4.peer_address), "api_address"),
        (replace(N4, peer_address="x\n2026-11-26T00:00:00.000Z CRITICAL replicator: forged:1"), "peer_address"),
        (replace(N4, api_address="unix:/run/socket:1"), "api_address"),
        (replace(N4, role=MemberRole.JOINING), "role"),
        (replace(N4, directory_id=b"x" * (DIRECTORY_ID_BYTES - 1)), "directory_id"),
    ],
)
async def test_a_member_that_cannot_be_one_is_refused_before_the_group_is_asked(
    wanted: WantedMember, field: str
) -> None:
    cluster = three()
    cluster.leader = None  # any node asked would say NO_LEADER

    with pytest.raises(InvalidArgument) as caught:
        await cluster.nodes[0].members().set_member(wanted, timeout_s=1.0)

    assert caught.value.metadata["field"] == field


async def test_a_change_waits_for_the_one_before_it() -> None:
    node = three().nodes[0]
    node.raises.extend(ChangeInProgress("another one", retry_after_s=0.001) for _ in range(3))

    assert roles(await node.members().set_member(N4, timeout_s=30.0))["n4"] == "joining"

    node.raises.extend(ChangeInProgress("another one", retry_after_s=0.001) for _ in range(3))
    assert await node.leadership().transfer("n2", "", timeout_s=30.0) == "n2"


async def test_a_change_whose_turn_does_not_come_in_time_did_not_happen() -> None:
    cluster = three()
    node = cluster.nodes[0]
    node.raises.extend(ChangeInProgress("another one") for _ in range(1000))

    with pytest.raises(ChangeInProgress):
        await node.members().remove_member("n3", timeout_s=0.1)
    assert cluster.membership.index == 0

    with pytest.raises(DeadlineExceeded):
        await node.members().remove_member("n3", timeout_s=0.0)


@pytest.mark.parametrize("kind", [NoLeader, OutcomeUnknown])
async def test_other_errors_are_the_callers_to_judge(kind: type[NoLeader | OutcomeUnknown]) -> None:
    node = three().nodes[0]
    node.raises.append(kind("what the engine says"))

    with pytest.raises(kind):
        await node.members().remove_member("n3", timeout_s=5.0)
    assert not node.raises


async def test_the_last_voter_stays() -> None:
    cluster = MemoryCluster()
    node = cluster.add("n1", "eu")

    with pytest.raises(InvalidArgument, match="last voter"):
        await node.members().remove_member("n1", timeout_s=1.0)


async def test_a_leader_that_is_removed_leads_no_more() -> None:
    cluster = three()

    result = await cluster.nodes[0].members().remove_member("n1", timeout_s=1.0)

    assert [member.node_id for member in result.members if member.leader] == ["n2"]
    assert "n1" not in roles(result)


async def test_leadership_moves_to_a_node_a_region_or_whoever_is_ready() -> None:
    cluster = three()
    service = cluster.nodes[2].leadership()

    assert await service.transfer("n2", "", timeout_s=1.0) == "n2"
    assert await service.transfer("", "ap", timeout_s=1.0) == "n3"
    assert await service.transfer("", "ap", timeout_s=1.0) == "n3", "it leads already"
    assert await service.transfer("", "", timeout_s=1.0) != "n3"


@pytest.mark.parametrize(
    ("node_id", "region", "said"),
    [("n2", "us", "not both"), ("N2", "", "node_id"), ("", "US", "region"), ("n9", "", "n9"), ("", "mars", "mars")],
)
async def test_a_target_that_cannot_lead_is_refused(node_id: str, region: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        await three().nodes[0].leadership().transfer(node_id, region, timeout_s=1.0)
