"""Whatever a linked peer says, a node keeps no number out of range, moves only as it may, and ends by no exception.

Examples are drawn by hypothesis, which prints the one that fails and how to repeat it.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.engine.events import Frame, LinkUp
from replicator.engine.raft import messages
from replicator.engine.raft.messages import encode
from replicator.engine.write_behind import STATE_DELAY_S_MAX
from replicator.model.errors import HistoryReplaced
from replicator.model.limits import INDEX_MAX, TERM_MAX
from replicator.v1 import raft_pb2
from tests.support.forged import FORGED, Bounds
from tests.support.replicas import NAMES, HandCluster, HandNode

A, B, C = NAMES[:3]
EPOCH = 77


def a_node(role: str) -> HandNode:
    """A of three, with a few entries committed; as `role` says, and linked to both others."""
    cluster = HandCluster(3)
    if role == "candidate":
        node = cluster.campaign(A)
    elif role == "leader":
        node = cluster.elect(A)
    else:
        cluster.elect(C)
        node = cluster[A]
    if role != "candidate":
        cluster.write(b"k")
        cluster.write(b"l")
    node.wait(STATE_DELAY_S_MAX)  # all that it knows is on its disk
    node.turn(LinkUp(B, EPOCH), LinkUp(C, EPOCH))
    return node


def say(node: HandNode, bounds: Bounds, message: raft_pb2.RaftMessage) -> None:
    """B says it, on a link that is up; then time passes for as long as an election takes to begin."""
    if node.replica.link_epoch(B) is None:
        node.turn(LinkUp(B, EPOCH))
    turn = node.open(Frame(B, EPOCH, encode(message)))
    bounds.check(turn, message)
    node.close(turn)
    node.clock.forward(0.7)
    turn = node.open()
    bounds.check(turn, None)
    node.close(turn)


@pytest.mark.parametrize("role", ["follower", "candidate", "leader"])
@given(said=st.lists(FORGED, min_size=1, max_size=5))
@settings(deadline=None, max_examples=150)
def test_no_message_of_a_peer_makes_a_node_keep_what_it_must_not(role: str, said: list[raft_pb2.RaftMessage]) -> None:
    node = a_node(role)
    bounds = Bounds(node, node.replica.graft.term, node.replica.graft.commit_index)
    for message in said:
        if message.WhichOneof("body") is not None:
            try:
                say(node, bounds, message)
            except HistoryReplaced:
                return  # a forged leader sends another entry in place of a committed one: the node stops, and says so


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(raft_pb2.RaftMessage(stale_term=raft_pb2.StaleTerm(term=(1 << 64) - 2)), id="StaleTerm"),
        pytest.param(
            raft_pb2.RaftMessage(pre_vote_reply=raft_pb2.PreVoteReply(term=TERM_MAX + 1)), id="PreVoteReply"
        ),
        pytest.param(
            raft_pb2.RaftMessage(request_vote=raft_pb2.RequestVote(term=TERM_MAX + 1, last_index=INDEX_MAX)),
            id="RequestVote",
        ),
        pytest.param(
            raft_pb2.RaftMessage(
                append_entries=raft_pb2.AppendEntries(term=TERM_MAX + 1, sequence=1, prev_index=1)
            ),
            id="AppendEntries",
        ),
    ],
)  # fmt: skip
def test_a_term_out_of_range_is_refused_and_without_the_check_it_would_be_kept(
    message: raft_pb2.RaftMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = a_node("follower")
    before = node.disk.state
    bounds = Bounds(node, before.term, before.commit_index)
    turn = node.open(Frame(B, EPOCH, encode(message)))
    bounds.check(turn, message)
    node.close(turn)
    assert [bad.peer for bad in turn.bad_links] == [B]
    assert node.disk.state == before

    monkeypatch.setattr(messages, "check_bounds", lambda _message: None)
    with pytest.raises(AssertionError, match="a term is kept that no group reaches"):
        say(node, bounds, message)


def test_a_node_at_the_last_term_begins_no_campaign() -> None:
    node = a_node("follower")
    node.hear(B, stale_term=raft_pb2.StaleTerm(term=TERM_MAX))
    for _ in range(20):
        node.wait(0.7)

    assert (node.replica.graft.term, node.replica.graft.role) == (TERM_MAX, "follower")
