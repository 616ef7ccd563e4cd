"""Who counts as connected when the membership changes: a link that is up is not enough, somebody must answer on it."""

from replicator.model.errors import NoMajority
from replicator.model.members import MemberRole, RemoveMember, SetMember
from tests.support.members import a_member
from tests.support.replicas import LAN, NAMES, HandCluster
from tests.unit.engine.test_members import granted, membership_at, refused

A, B, C, D = NAMES[:4]
DISK = b"d" * 16


def a_cluster_whose_c_hangs() -> HandCluster:
    """A leads; C says nothing any more, on a link that is up."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.cut = frozenset({(C, A), (C, B)})
    cluster.wait(2 * LAN.election_timeout_max_s)
    return cluster


def test_a_voter_that_hangs_does_not_count_although_its_link_is_up() -> None:
    cluster = a_cluster_whose_c_hangs()

    assert cluster[A].replica.link_epoch(C) is not None
    assert isinstance(refused(cluster.change(RemoveMember(B))), NoMajority)
    cluster.cut = frozenset()
    cluster.wait(0.1)
    assert granted(cluster.change(RemoveMember(B))).voters == {A, C}


def test_a_voter_that_hangs_may_be_removed() -> None:
    cluster = a_cluster_whose_c_hangs()

    assert granted(cluster.change(RemoveMember(C))).voters == {A, B}


def test_a_new_link_counts_once_it_has_answered() -> None:
    cluster = a_cluster_whose_c_hangs()
    cluster.disconnect(A, C)
    cluster.connect(A, C)
    cluster.deliver()

    assert isinstance(refused(cluster.change(RemoveMember(B))), NoMajority)
    cluster.cut = frozenset()
    cluster.wait(0.1)
    assert granted(cluster.change(RemoveMember(B))).voters == {A, C}


def test_a_new_leader_waits_for_first_answers_before_it_refuses() -> None:
    """It has heard from a majority, which is not everybody: a far voter answers later than a near one."""
    cluster = HandCluster(3)
    cluster.cut = frozenset({(C, A)})
    cluster.elect(A)
    answers = cluster.change(RemoveMember(B))
    assert answers == []
    cluster.cut = frozenset()
    cluster.wait(0.1)
    assert granted(answers).voters == {A, C}


def test_a_new_leader_does_not_wait_for_long() -> None:
    cluster = HandCluster(3)
    cluster.cut = frozenset({(C, A), (C, B)})
    cluster.elect(A)
    answers = cluster.change(RemoveMember(B))
    assert answers == []
    cluster.wait(2 * LAN.election_timeout_max_s)
    assert isinstance(refused(answers), NoMajority)


def test_a_joining_member_that_hangs_does_not_become_a_voter() -> None:
    """It holds all that there is, and would only raise the number of those that must answer."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.join(D)
    granted(cluster.change(SetMember(a_member(D))))
    cluster.wait(0.5)
    cluster.cut = frozenset({(D, A)})
    cluster.wait(2 * LAN.election_timeout_max_s)
    cluster.change(SetMember(a_member(D, directory_id=DISK)))
    cluster.wait(0.5)

    joined = membership_at(cluster[A]).get(D)
    assert joined is not None
    assert joined.role is MemberRole.JOINING
