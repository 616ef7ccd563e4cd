"""Linearizable reads: confirmed by a majority after they arrived, by a leader that knows what is committed."""

import pytest

from replicator.engine.leading import read_index
from replicator.model.errors import NotLeader, Overloaded, ReplicatorError
from replicator.model.ids import LogIndex
from replicator.v1 import raft_pb2
from tests.support.replicas import NAMES, HandCluster, HandNode, bodies

A, B, C = NAMES[:3]
Answers = list[LogIndex | ReplicatorError]


def test_a_read_is_answered_with_the_commit_index_once_a_majority_has_answered() -> None:
    cluster, answers = HandCluster(3), Answers()
    leader = cluster.elect(A)
    last = cluster.write(b"k")
    leader.replica.reads.ask(answers.append)
    cluster.take(A)
    assert answers == []
    cluster.deliver()

    assert answers == [last]


def test_an_answer_to_something_sent_before_the_read_arrived_confirms_nothing() -> None:
    """Another leader may have been elected in between."""
    cluster, answers = HandCluster(3), Answers()
    leader = cluster.elect(A)
    cluster.wait(0.2)
    cluster.hold = frozenset({(B, A), (C, A)})
    leader.wait(0.06)
    cluster.wire.extend((A, out) for out in leader.wait(0.06))
    cluster.deliver()  # B and C have answered a heartbeat; the answers are under way
    leader.replica.reads.ask(answers.append)
    before = leader.replica.pump.progress[B].sent
    cluster.take(A)
    cluster.hold = frozenset()
    for sender, out in cluster.late:
        (reply,) = bodies([out], "append_reply")
        assert reply.append_reply.answers <= before
        cluster.hand_over(sender, out)
    assert answers == []
    cluster.deliver()

    assert len(answers) == 1


def test_a_new_leader_confirms_no_read_before_an_entry_of_its_term_is_committed() -> None:
    """Until then it does not know what its predecessors acknowledged."""
    cluster, answers = HandCluster(3), Answers()
    cluster.elect(B)
    last = cluster.write(b"k")
    leader = cluster.elect_unheard(A)
    leader.replica.reads.ask(answers.append)
    leader.turn()
    assert answers == []
    cluster.deliver()
    cluster.wait(0.1)

    assert len(answers) == 1
    assert isinstance(answers[0], int)
    assert answers[0] > last


def test_reads_of_one_turn_share_one_round() -> None:
    """However many there are: one append to each peer confirms them all."""
    cluster, answers = HandCluster(3), Answers()
    leader = cluster.elect(A)
    for _ in range(100):
        leader.replica.reads.ask(answers.append)
    frames = leader.turn()
    assert len(bodies(frames, "append_entries")) == 2
    cluster.wire.extend((A, out) for out in frames)
    cluster.deliver()

    assert len(answers) == 100


def test_a_read_is_not_confirmed_by_a_minority() -> None:
    cluster, answers = HandCluster(5), Answers()
    leader = cluster.elect(A)
    cluster.wait(0.1)
    others = [name for name in cluster.nodes if name not in (A, B)]
    cluster.cut = frozenset((A, name) for name in others)
    leader.replica.reads.ask(answers.append)
    cluster.take(A)
    cluster.deliver()
    assert answers == []
    cluster.cut = frozenset()
    cluster.wait(0.1)

    assert len(answers) == 1


def test_a_node_alone_confirms_its_reads_itself() -> None:
    node, answers = HandNode(A, []), Answers()
    while not node.replica.graft.is_leader:
        node.wait(0.1)
    node.replica.reads.ask(answers.append)
    node.wait(0.1)
    node.wait(0.1)

    assert answers == [node.replica.graft.commit_index]


def test_a_deposed_leader_fails_every_read_that_waits() -> None:
    """A read is safe to repeat elsewhere."""
    cluster, answers = HandCluster(3), Answers()
    leader = cluster.elect(A)
    leader.replica.reads.ask(answers.append)
    leader.turn()
    leader.replica.reads.ask(answers.append)
    leader.hear(B, stale_term=raft_pb2.StaleTerm(term=99))
    leader.replica.reads.ask(answers.append)

    assert [type(answer) for answer in answers] == [NotLeader] * 3


def test_waiting_reads_are_bounded_and_room_returns_with_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_index, "WAITING_MAX", 2)
    cluster, answers = HandCluster(3), Answers()
    leader = cluster.elect(A)
    for _ in range(3):
        leader.replica.reads.ask(answers.append)
    assert [type(answer) for answer in answers] == [Overloaded]
    cluster.take(A)
    cluster.deliver()
    leader.replica.reads.ask(answers.append)
    cluster.take(A)
    cluster.deliver()

    assert [isinstance(answer, int) for answer in answers] == [False, True, True, True]


def test_heartbeats_during_a_slow_commit_confirm_reads_that_arrived_before_them() -> None:
    cluster, answers = HandCluster(3), Answers()
    leader = cluster.elect(A)
    cluster.wait(0.1)
    leader.replica.reads.ask(answers.append)
    turn = leader.open()
    for out in leader.replica.heartbeat_while_committing():
        cluster.wire.append((A, out))
    for _ in range(2):
        sender, out = cluster.wire.popleft()
        cluster.hand_over(sender, out)  # followers answer; the leader's own commit still runs
    leader.close(turn)
    cluster.deliver()

    assert len(answers) == 1
