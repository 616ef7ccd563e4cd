"""What a reader of the log is told: each change once, and nothing else."""

import logging
from dataclasses import replace

import pytest

from replicator.config.timing import RaftTiming
from replicator.engine.leading.transfer import TransferRequest
from replicator.engine.raft.role_log import note_membership
from replicator.engine.raft.timers import Timers
from replicator.model.ids import LogIndex
from replicator.model.members import MemberRole, RemoveMember, SetMember
from replicator.v1 import raft_pb2
from tests.support.members import a_member, voters
from tests.support.replicas import LAN, NAMES, HandCluster, HandNode

A, B, C, D = NAMES[:4]
DISK, OTHER_DISK = b"d" * 16, b"o" * 16


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "replicator.engine")


def test_leadership_is_told_once_as_each_node_sees_it(caplog: pytest.LogCaptureFixture) -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.wait(1.0)
    term = cluster[A].replica.graft.term

    assert sorted(caplog.messages) == [
        f"campaigning term={term}",
        *2 * [f"following leader={A} term={term}"],
        f"leading term={term}",
    ]


def test_a_leader_that_falls_silent_is_missed_once(caplog: pytest.LogCaptureFixture) -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    term = cluster[A].replica.graft.term
    cluster.cut = frozenset({(A, B), (A, C), (B, C), (C, B)})
    caplog.clear()
    cluster.wait(3.0)

    assert sorted(caplog.messages) == [*2 * [f"lost leader={A} term={term}"], f"stepped down term={term}"]


def test_who_leads_after_whom(caplog: pytest.LogCaptureFixture) -> None:
    cluster = HandCluster(3)
    first = cluster.elect(A).replica.graft.term
    cluster[A].replica.transfers.begin(TransferRequest(B, why="shutdown", timeout_s=5.0), lambda _result: None)
    caplog.clear()
    cluster.wait(0.2)
    second = cluster[B].replica.graft.term

    assert caplog.messages[0] == f"transferring leadership to {B} in term {first} why=shutdown"
    told = sorted(
        line for line in caplog.messages[1:] if "lost leader" not in line
    )  # between two leaders there is none
    assert told == [
        f"campaigning term={second}",
        *2 * [f"following leader={B} term={second}"],
        f"leading term={second}",
        f"stepped down term={first}",
    ]


def test_a_candidate_says_so_once_a_term(caplog: pytest.LogCaptureFixture) -> None:
    node = HandNode(A, [B, C])
    node.link(B, C)
    for term in (1, 2):  # nobody votes in the first one
        node.wait(2 * LAN.election_timeout_max_s)
        node.hear(B, pre_vote_reply=raft_pb2.PreVoteReply(asked_term=term, term=term - 1, granted=True))
        node.turn()
        node.turn()

    assert caplog.messages == ["campaigning term=1", "campaigning term=2"]


def test_a_leader_that_is_removed_hands_over_for_that_reason(caplog: pytest.LogCaptureFixture) -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.change(RemoveMember(A))

    assert sum("why=removal" in line for line in caplog.messages) == 1


def test_every_member_tells_what_a_change_changed(caplog: pytest.LogCaptureFixture) -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.join(D, directory_id=DISK)
    caplog.clear()
    cluster.change(SetMember(a_member(D, directory_id=DISK)))
    cluster.wait(0.5)
    told = [line.partition(": ")[2] for line in caplog.messages if line.startswith("membership applied index=")]

    assert told.count(f"+{D} joining") == 3
    assert told.count(f"{D} joining -> voter") == 4


def test_a_change_is_described_by_what_differs(caplog: pytest.LogCaptureFixture) -> None:
    before = voters(A, B, C, index=1)
    moved = replace(a_member(B, MemberRole.OBSERVER, DISK), api_address="elsewhere:1")
    after = replace(before.without(A).with_member(moved).with_member(a_member(D)), index=LogIndex(7))
    note_membership(before, after)
    note_membership(after, replace(after.with_member(replace(moved, directory_id=OTHER_DISK)), index=LogIndex(8)))

    old = a_member(B)
    places = f"{old.region} {old.peer_address} {old.api_address} -> {old.region} {old.peer_address} elsewhere:1"
    assert caplog.messages == [
        f"membership applied index=7: -{A}, {B} voter -> observer, {B} with a known data directory, "
        f"{B} at {places}, +{D} voter",
        f"membership applied index=8: {B} with another data directory",
    ]


def test_timers_are_told_of_when_they_change(caplog: pytest.LogCaptureFixture) -> None:
    timers = Timers(LAN)
    timers.set(LAN)
    timers.set(RaftTiming(0.1, 1.0, 2.0))

    assert caplog.messages == ["timers agreed heartbeat_ms=50 -> 100 election_timeout_ms=300..600 -> 1000..2000"]
