"""Pre-vote: nobody raises the term unless it could win, and nobody who hears a leader helps to depose it."""

import pytest

from replicator.engine.events import LinkUp
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2
from tests.support.replicas import LAN, NAMES, HandCluster, HandNode, bodies

A, B, C, D, E = NAMES[:5]


def due(node: HandNode) -> None:
    """Its election deadline passes."""
    node.clock.forward(LAN.election_timeout_max_s + 0.01)


def asked(node: HandNode, peer: NodeId) -> raft_pb2.PreVote:
    (message,) = bodies(node.turn(), "pre_vote", to=peer)
    return message.pre_vote


def test_a_node_that_misses_its_leader_asks_before_it_raises_the_term() -> None:
    node = HandNode(A, [B, C])
    node.link()
    due(node)
    frames = node.turn()

    assert {out.peer for out in frames} == {B, C}
    assert [m.pre_vote.term for m in bodies(frames, "pre_vote")] == [1, 1]
    assert node.replica.graft.term == 0


def test_a_majority_of_grants_starts_the_election_and_counts_the_node_itself() -> None:
    node = HandNode(A, [B, C, D, E])
    node.link()
    due(node)
    ballot = asked(node, B)
    grant = raft_pb2.PreVoteReply(asked_term=ballot.term, granted=True, term=0)
    assert bodies(node.hear(B, pre_vote_reply=grant), "request_vote") == []
    assert bodies(node.hear(B, pre_vote_reply=grant), "request_vote") == [], "each peer grants once"
    assert len(bodies(node.hear(C, pre_vote_reply=grant), "request_vote")) == 4
    assert (node.replica.graft.role, node.replica.graft.term) == ("candidate", 1)


@pytest.mark.parametrize(
    "reply",
    [
        raft_pb2.PreVoteReply(asked_term=1, granted=False, term=0),
        raft_pb2.PreVoteReply(asked_term=2, granted=True, term=0),
        raft_pb2.PreVoteReply(asked_term=0, granted=True, term=0),
    ],
    ids=["refused", "of a later ballot", "of an earlier ballot"],
)
def test_other_answers_start_nothing(reply: raft_pb2.PreVoteReply) -> None:
    node = HandNode(A, [B, C])
    node.link()
    due(node)
    node.turn()

    assert bodies(node.hear(B, pre_vote_reply=reply), "request_vote") == []
    assert node.replica.graft.term == 0


def test_a_grant_that_nobody_asked_for_starts_nothing() -> None:
    node = HandNode(A, [B, C])
    node.link()
    grant = raft_pb2.PreVoteReply(asked_term=1, granted=True, term=0)

    assert bodies(node.hear(B, pre_vote_reply=grant), "request_vote") == []


def test_a_refusal_in_a_newer_term_brings_the_node_up_to_it() -> None:
    node = HandNode(A, [B, C])
    node.link()
    due(node)
    node.turn()
    node.hear(B, pre_vote_reply=raft_pb2.PreVoteReply(asked_term=1, granted=False, term=7))

    assert node.disk.state.term == 7


def test_a_node_that_hears_a_leader_grants_nothing() -> None:
    """A flapping node does not depose a healthy leader."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.wait(0.2)
    last = cluster[B].replica.journal.entry(cluster[B].replica.journal.last_index)
    question = raft_pb2.PreVote(term=99, last_index=last.index + 5, last_term=last.term)
    for name in (A, B):
        (reply,) = bodies(cluster[name].hear(C, pre_vote=question), "pre_vote_reply")
        assert not reply.pre_vote_reply.granted
    cluster[B].clock.forward(LAN.election_timeout_min_s)
    (reply,) = bodies(cluster[B].hear(C, pre_vote=question), "pre_vote_reply")

    assert reply.pre_vote_reply.granted


@pytest.mark.parametrize(
    ("question", "granted"),
    [((1, 2, 1), False), ((2, 2, 1), True), ((2, 1, 1), False), ((2, 9, 0), False), ((2, 1, 2), True)],
)
def test_a_grant_needs_a_newer_term_and_a_log_at_least_as_new(question: tuple[int, int, int], granted: bool) -> None:
    """(term, last index, last term), asked of a node in term 1 whose log ends at (2, 1)."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.clock.forward(5.0)
    term, last_index, last_term = question
    asked_for = raft_pb2.PreVote(term=term, last_index=last_index, last_term=last_term)
    (reply,) = bodies(cluster[B].hear(C, pre_vote=asked_for), "pre_vote_reply")

    assert reply.pre_vote_reply.granted is granted
    assert reply.pre_vote_reply.asked_term == term


def test_granting_binds_nobody() -> None:
    """It changes neither term nor vote: a grant may go to several, the vote to one."""
    node = HandNode(A, [B, C])
    node.link()
    for peer in (B, C):
        question = raft_pb2.PreVote(term=5, last_index=9, last_term=3)
        (reply,) = bodies(node.hear(peer, pre_vote=question), "pre_vote_reply")
        assert reply.pre_vote_reply.granted

    assert (node.replica.graft.term, node.replica.journal.hard_state.voted_for) == (0, None)


def test_a_node_cut_off_from_the_majority_asks_nobody_and_keeps_its_term() -> None:
    """Its return then disturbs nobody."""
    node = HandNode(A, [B, C, D, E])
    node.link(B)
    for _ in range(20):
        due(node)
        assert node.turn() == ()

    assert node.replica.graft.term == 0


def test_an_unanswered_ballot_is_repeated_but_not_every_turn() -> None:
    node = HandNode(A, [B, C])
    node.link()
    due(node)
    questions = 0
    for _ in range(60):  # three seconds of turns every 50 ms
        questions += len(bodies(node.wait(0.05), "pre_vote", to=B))

    assert 3 <= questions <= 21


def test_a_leader_heard_ends_the_ballot() -> None:
    """Grants that come later are for an election that is no longer wanted."""
    node = HandNode(A, [B, C])
    node.link()
    due(node)
    ballot = asked(node, B)
    node.hear(C, append_entries=raft_pb2.AppendEntries(term=1, sequence=1, prev_index=1))
    grant = raft_pb2.PreVoteReply(asked_term=ballot.term, granted=True, term=0)

    assert bodies(node.hear(B, pre_vote_reply=grant), "request_vote") == []
    assert node.replica.graft.role == "follower"


def test_a_flapping_node_does_not_depose_the_leader() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    term = leader.replica.graft.term
    for _ in range(5):
        cluster.disconnect(A, C)
        cluster.disconnect(B, C)
        cluster.wait(1.0)
        cluster.connect(A, C)
        cluster.connect(B, C)
        cluster.wait(0.3)

    assert leader.replica.graft.is_leader
    assert cluster[C].replica.graft.term == leader.replica.graft.term == term


def test_a_node_alone_elects_itself() -> None:
    node = HandNode(A, [])
    due(node)
    node.turn()

    assert node.replica.graft.is_leader
    assert node.disk.state.voted_for == A


def test_two_of_two_must_agree() -> None:
    node = HandNode(A, [B])
    due(node)
    assert node.turn() == ()
    node.turn(LinkUp(B, 1))
    due(node)

    assert len(bodies(node.turn(), "pre_vote", to=B)) == 1
