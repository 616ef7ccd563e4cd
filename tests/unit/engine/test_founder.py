"""Groups that were founded apart: told from each other by their founder, and not founded where one exists."""

from dataclasses import replace

import pytest

from replicator.engine.events import KeptOut
from replicator.model.ids import LogIndex
from replicator.model.members import MemberRole, SetMember
from tests.support.members import a_member
from tests.support.replicas import LAN, NAMES, HandCluster, HandNode
from tests.unit.engine.test_members import membership_at

A, B, C, D = NAMES[:4]
DISK = b"d" * 16


def test_the_first_leader_founds_the_group_and_nobody_after_it_does() -> None:
    """By its data directory, which no other node has: so two groups of one name can be told apart."""
    cluster = HandCluster(3)
    for number, (name, node) in enumerate(cluster.nodes.items()):
        settings = replace(node.settings, directory_id=b"%16d" % number)
        cluster.nodes[name] = HandNode(name, node.peers, clock=cluster.clock, settings=settings, seed=number)
    for one, other in ((A, B), (A, C), (B, C)):
        cluster.connect(one, other)
    cluster.elect(B)
    cluster.wait(0.2)
    assert {membership_at(node).founder for node in cluster.nodes.values()} == {b"%16d" % 1}

    cluster.elect(A)
    cluster.change(SetMember(a_member(D, MemberRole.OBSERVER)))
    cluster.wait(0.2)
    assert {membership_at(node).founder for node in cluster.nodes.values()} == {b"%16d" % 1}


def test_nodes_that_a_group_keeps_out_found_no_other_one() -> None:
    """By their files they are a majority; the group that exists says what counts."""
    cluster = HandCluster(3)
    cluster.disconnect(A, C)
    cluster.disconnect(B, C)
    for name in (A, B):
        cluster.take(name, KeptOut(C, DISK))
    cluster.wait(5 * LAN.election_timeout_max_s)

    assert {cluster[name].replica.graft.role for name in (A, B)} == {"follower"}
    assert {cluster[name].replica.graft.term for name in (A, B)} == {0}


def test_one_that_is_kept_out_spoils_no_election_of_others_and_takes_part_once_it_is_let_in() -> None:
    cluster = HandCluster(3)
    cluster.disconnect(B, C)
    cluster.take(C, KeptOut(B, DISK))
    cluster.elect(A)
    cluster.write(b"k")
    membership = membership_at(cluster[A])
    assert not cluster[C].replica.group.is_voter

    cluster[C].replica.group.take(replace(membership, index=LogIndex(membership.index + 1)))
    assert cluster[C].replica.group.is_voter


def test_who_is_let_in_again_takes_part_again() -> None:
    """All have lost their disks, one after the other: there is no group any more, and nobody is to be kept from one."""
    cluster = HandCluster(3)
    for name in (A, B):
        cluster.take(name, KeptOut(C, DISK))
    for one, other in ((A, C), (B, C)):
        cluster.connect(one, other)
    assert not cluster[A].replica.group.is_voter, "a link may yet be refused"
    cluster.wait(4 * LAN.election_timeout_max_s)

    assert cluster.leader().replica.graft.term > 0
    assert all(not node.replica.group.kept_out_by for node in cluster.nodes.values())


def test_a_candidate_that_is_kept_out_does_not_win() -> None:
    cluster = HandCluster(3)
    node = cluster.campaign(A)
    cluster.take(A, KeptOut(C, DISK))
    cluster.deliver()

    assert node.replica.graft.role == "follower"


def test_the_refusal_of_another_group_means_nothing_to_a_member() -> None:
    cluster = HandCluster(1, directory_id=DISK)
    node = cluster[A]
    cluster.wait(1.0)
    cluster.take(A, KeptOut(B, b"o" * 16))
    assert node.replica.group.kept_out_by == set()
    cluster.take(A, KeptOut(B, DISK))
    assert node.replica.group.kept_out_by == {B}, "its own group has removed it"


def test_a_membership_of_another_group_stops_the_node() -> None:
    cluster = HandCluster(1, directory_id=DISK)
    node = cluster[A]
    cluster.wait(1.0)
    foreign = replace(membership_at(node), index=LogIndex(99), founder=b"o" * 16)
    with pytest.raises(AssertionError, match="the log of another group"):
        node.replica.group.take(foreign)


def test_a_leader_that_is_kept_out_before_it_has_founded_anything_leads_no_more() -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.take(A, KeptOut(B, DISK))
    assert not cluster[A].replica.graft.is_leader


def test_a_member_of_a_group_does_not_care_who_keeps_it_out() -> None:
    cluster = HandCluster(1, directory_id=DISK)
    node = cluster[A]
    cluster.wait(1.0)
    assert membership_at(node).founder == DISK
    cluster.take(A, KeptOut(B, DISK))
    assert node.replica.graft.is_leader
