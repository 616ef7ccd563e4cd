"""Leadership is handed to a follower that holds everything; nothing is lost meanwhile, and nothing hangs."""

from replicator.model.errors import NotLeader
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2, store_pb2
from tests.support.commands import put
from tests.support.replicas import NAMES, HandCluster, HandNode, bodies, frame

A, B, C = NAMES[:3]
TIMEOUT_S = 1.0


def leads(cluster: HandCluster) -> list[NodeId]:
    return [name for name, node in cluster.nodes.items() if node.replica.graft.is_leader]


def test_leadership_moves_to_the_node_that_was_named() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    assert leader.replica.transfers.begin(C, TIMEOUT_S)
    cluster.take(A)
    cluster.deliver()

    assert leads(cluster) == [C]


def test_leadership_moves_to_somebody_caught_up_when_nobody_is_named() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.cut = frozenset({(A, B)})
    cluster.write(b"k")
    leader.replica.transfers.begin(None, TIMEOUT_S)
    cluster.take(A)
    cluster.deliver()

    assert leads(cluster) == [C]


def test_a_target_that_lags_is_asked_only_once_it_holds_everything() -> None:
    """Otherwise it could not win, and the term would be disturbed for nothing."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.hold = frozenset({(A, C)})
    cluster.write(b"k")
    leader.replica.transfers.begin(C, TIMEOUT_S)
    cluster.take(A)
    assert bodies([out for _, out in cluster.wire], "timeout_now") == []
    cluster.hold = frozenset()
    for sender, out in cluster.late:
        cluster.hand_over(sender, out)
    cluster.deliver()
    cluster.take(A)
    cluster.deliver()

    assert leads(cluster) == [C]


def test_writes_wait_during_a_transfer_and_are_surely_not_proposed_when_it_succeeds() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    last = leader.replica.journal.last_index
    leader.replica.transfers.begin(C, TIMEOUT_S)
    answers: list[object] = []
    leader.replica.proposals.offer(put(b"k"), answers.append)
    cluster.take(A)
    cluster.deliver()

    assert leads(cluster) == [C]
    assert [type(answer) for answer in answers] == [NotLeader]
    assert leader.log()[last : last + 1] == [(last + 1, cluster[C].replica.graft.term)]  # C's no-op, not the write


def test_writes_go_on_when_the_target_does_not_answer_in_time() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.cut = frozenset({(A, C)})
    cluster.write(b"C lacks this")
    leader.replica.transfers.begin(C, TIMEOUT_S)
    answers: list[object] = []
    leader.replica.proposals.offer(put(b"k"), answers.append)
    cluster.wait(TIMEOUT_S / 2)
    assert answers == []
    cluster.wait(TIMEOUT_S)

    assert isinstance(answers[0], store_pb2.Outcome)
    assert leads(cluster) == [A]


def test_only_a_leader_with_links_can_hand_over() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    assert not cluster[B].replica.transfers.begin(A, TIMEOUT_S)
    cluster.disconnect(A, B)
    cluster.disconnect(A, C)
    assert not leader.replica.transfers.begin(None, TIMEOUT_S)
    assert not HandNode(A, []).replica.transfers.begin(None, TIMEOUT_S)


def test_nobody_but_its_leader_can_make_a_node_campaign() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    term = leader.replica.graft.term
    frames = cluster[B].hear(C, timeout_now=raft_pb2.TimeoutNow(term=term))
    frames += cluster[B].hear(A, timeout_now=raft_pb2.TimeoutNow(term=term - 1))

    assert bodies(frames, "request_vote") == []
    assert cluster[B].replica.graft.role == "follower"


def test_a_request_of_a_term_that_is_over_does_not_disturb_the_next_leader() -> None:
    """B is asked to campaign and votes for C in the same turn: stock then ignores C's heartbeats, and deposes it."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    term, last = leader.replica.graft.term, leader.replica.journal.last_index
    node = cluster[B]
    epochs = {peer: node.replica.link_epoch(peer) or 0 for peer in (A, C)}
    cluster.take(
        B,
        frame(A, epochs[A], timeout_now=raft_pb2.TimeoutNow(term=term)),
        frame(C, epochs[C], request_vote=raft_pb2.RequestVote(term=term + 1, last_index=last, last_term=term)),
    )
    campaigns = []
    for number in range(40):  # two seconds, longer than any election timeout, of C's regular heartbeats
        cluster.clock.forward(0.05)
        beat = raft_pb2.AppendEntries(term=term + 1, sequence=number + 1, prev_index=last, prev_term=term)
        campaigns += bodies(node.hear(C, append_entries=beat), "request_vote")

    assert campaigns == []
    assert node.replica.graft.leader == C
