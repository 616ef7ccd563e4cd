"""A leader says things once: entries are serialized once for all, and a commit index travels with the next entries."""

import pytest

from replicator.engine.raft import pump
from replicator.engine.raft.messages import append_frame, serialized_entries
from replicator.engine.raft.pump import COMMIT_NOTICE_S
from replicator.engine.replica import TIMER_SLACK_S
from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry
from replicator.v1 import raft_pb2
from tests.support.commands import put
from tests.support.replicas import NAMES, HandCluster, HandNode, bodies

A, B, C = NAMES[:3]


def a_leader_with_news() -> tuple[HandCluster, HandNode]:
    """It has committed an entry, and its followers have not heard so."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    commit_index = leader.replica.commit_index
    leader.replica.proposals.offer(put(b"k"), lambda _outcome: None)
    cluster.take(A)
    while leader.replica.commit_index == commit_index:
        cluster._carry_next()
    cluster.wire.clear()
    return cluster, leader


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 20_000, 1 << 21])
def test_a_frame_of_parts_is_the_message_that_they_make(size: int) -> None:
    entries = [Entry(bytes(size + 1), LogIndex(index), Term(3)) for index in (7, 8)]
    own = raft_pb2.AppendEntries(term=3, sequence=9, prev_index=6, prev_term=2, commit_index=6, echo_clock_ms=5)
    whole = raft_pb2.AppendEntries()
    whole.CopyFrom(own)
    for entry in entries:
        whole.entries.add(index=entry.index, term=entry.term, payload=entry.payload)

    for carried, wanted in ((entries, whole), ([], own)):
        frame = append_frame(own, serialized_entries(carried))
        message = raft_pb2.RaftMessage()
        message.ParseFromString(frame)
        assert message.append_entries == wanted


def test_entries_are_serialized_once_for_all_followers(monkeypatch: pytest.MonkeyPatch) -> None:
    leader = HandCluster(3).elect(A)
    calls: list[int] = []

    def counted(entries: list[Entry]) -> bytes:
        calls.append(len(entries))
        return serialized_entries(entries)

    monkeypatch.setattr(pump, "serialized_entries", counted)
    leader.replica.proposals.offer(put(b"k"), lambda _outcome: None)
    appends = bodies(leader.turn(), "append_entries")

    assert [len(message.append_entries.entries) for message in appends] == [1, 1]
    assert calls == [1]


def test_a_commit_index_travels_with_the_next_entries() -> None:
    _cluster, leader = a_leader_with_news()
    assert leader.turn() == ()
    leader.replica.proposals.offer(put(b"l"), lambda _outcome: None)
    (to_b, to_c) = bodies(leader.turn(), "append_entries")

    for message in (to_b, to_c):
        assert message.append_entries.commit_index == leader.replica.commit_index
        assert len(message.append_entries.entries) == 1


def test_a_commit_index_is_told_alone_if_there_are_no_entries_for_a_while() -> None:
    cluster, leader = a_leader_with_news()
    assert leader.replica.next_due_s() <= cluster.clock.monotonic_s() + COMMIT_NOTICE_S + TIMER_SLACK_S
    beats = bodies(leader.wait(COMMIT_NOTICE_S + TIMER_SLACK_S), "append_entries")

    assert [message.append_entries.commit_index for message in beats] == [leader.replica.commit_index] * 2
    assert leader.turn() == (), "once"
