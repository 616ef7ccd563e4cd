"""Writes that a follower passes on while there are too many: deadlines go with them, refusals come back."""

from math import inf

import pytest

from replicator.engine.leading.envelopes import ASK_AGAIN_S
from replicator.engine.leading.request_table import WRITE, WriteRequest
from replicator.model.errors import DeadlineExceeded, Overloaded, ReplicatorError
from replicator.v1 import raft_pb2, store_pb2
from tests.support.commands import put
from tests.support.replicas import NAMES, HandCluster

A, B = NAMES[:2]
Answers = list[store_pb2.BatchOutcome | ReplicatorError]


def a_cluster() -> HandCluster:
    cluster = HandCluster(3)
    cluster.elect(A)
    return cluster


def test_a_forwarded_write_brings_its_deadline_and_is_not_proposed_after_it() -> None:
    cluster, writes = a_cluster(), Answers()
    last = cluster[A].replica.journal.last_index
    cluster[A].replica.proposals.paused = True
    cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k"), 0.2), writes.append)
    cluster.take(B)
    cluster.deliver()
    assert writes == []
    cluster.wait(0.3)
    cluster[A].replica.proposals.paused = False
    cluster.wait(0.1)

    assert [type(answer) for answer in writes] == [DeadlineExceeded]
    assert cluster[A].replica.journal.last_index == last


def test_a_write_of_an_older_release_has_no_deadline() -> None:
    request = WRITE.decode(raft_pb2.RaftMessage(forward=raft_pb2.Forward(command=put(b"k"))))
    assert request.timeout_s == inf


def test_a_refusal_of_the_leader_says_when_to_come_back() -> None:
    cluster = HandCluster(3, backlog_bytes=100_000)
    cluster.elect(A)
    for key in range(2):
        cluster[A].replica.proposals.offer(put(b"%d" % key, b"x" * 60_000), lambda _result: None)
    refused = Answers()
    cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k", b"x" * 1000), 5.0), refused.append)
    cluster.take(B)
    cluster.deliver()

    assert isinstance(refused[0], Overloaded)
    assert refused[0].retry_after_s is not None
    assert refused[0].retry_after_s != ASK_AGAIN_S, "the leader's own estimate"


def test_a_follower_passes_on_what_the_leader_can_answer_and_refuses_the_rest() -> None:
    cluster = HandCluster(3, backlog_bytes=100_000)
    cluster.elect(A)
    forwards_of_b, answers = cluster[B].replica.forwards, Answers()
    for key in range(2):
        forwards_of_b.ask(A, WRITE, WriteRequest(put(b"%d" % key, b"x" * 60_000), 5.0), answers.append)
    with pytest.raises(Overloaded, match="wait for the leader"):
        forwards_of_b.ask(A, WRITE, WriteRequest(put(b"k"), 5.0), answers.append)
    cluster.take(B)
    cluster.deliver()
    cluster.wait(0.1)

    assert len(answers) == 2
    forwards_of_b.ask(A, WRITE, WriteRequest(put(b"k"), 5.0), answers.append)
