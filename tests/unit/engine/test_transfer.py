"""Leadership is handed to a follower that holds everything; nothing is lost meanwhile, and nothing hangs."""

import pytest

from replicator.engine.leading.request_table import WRITE, WriteRequest
from replicator.engine.leading.transfer import TransferRequest
from replicator.model.errors import InvalidArgument, NotLeader, Unavailable
from replicator.model.ids import NodeId, Region
from replicator.v1 import raft_pb2, store_pb2
from tests.support.commands import put
from tests.support.replicas import LAN, NAMES, HandCluster, HandNode, bodies, frame

A, B, C = NAMES[:3]
TIMEOUT_S = 1.0


def leads(cluster: HandCluster) -> list[NodeId]:
    return [name for name, node in cluster.nodes.items() if node.replica.graft.is_leader]


def is_paused(leader: HandNode) -> bool:
    return leader.replica.proposals.paused


def begin(leader: HandNode, node_id: NodeId | None = None, region: Region | None = None) -> list[object]:
    """Starts a transfer; what its caller hears."""
    heard: list[object] = []
    leader.replica.transfers.begin(TransferRequest(node_id, region, timeout_s=TIMEOUT_S), heard.append)
    return heard


def in_regions(count: int, *, preference: tuple[str, ...] = ()) -> HandCluster:
    """A node a region: n1 in r1 and so on."""
    regions = {name: Region(f"r{name[1:]}") for name in NAMES[:count]}
    return HandCluster(count, regions=regions, leader_preference=tuple(Region(region) for region in preference))


# To whom -----------------------------------------------------------------------------------------------------------


def test_leadership_moves_to_the_node_that_was_named() -> None:
    cluster = HandCluster(3)
    heard = begin(cluster.elect(A), C)
    cluster.take(A)
    cluster.deliver()

    assert leads(cluster) == [C]
    cluster.wait(0.1)
    assert heard == [C]


def test_leadership_moves_to_the_region_that_was_named() -> None:
    cluster = in_regions(3)
    heard = begin(cluster.elect(A), region=Region("r2"))
    cluster.wait(0.1)

    assert leads(cluster) == heard == [B]


def test_leadership_moves_to_somebody_caught_up_when_nobody_is_named() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.cut = frozenset({(A, B)})
    cluster.write(b"k")
    begin(leader)
    cluster.take(A)
    cluster.deliver()

    assert leads(cluster) == [C]


def test_of_those_who_have_caught_up_the_preferred_region_is_chosen() -> None:
    cluster = in_regions(4, preference=("r3", "r2"))
    leader = cluster.elect(A)
    cluster.wait(0.1)
    begin(leader)
    cluster.take(A)
    cluster.deliver()

    assert leads(cluster) == [C]


def test_a_leader_that_is_what_was_asked_for_says_so_and_goes_on() -> None:
    cluster = in_regions(3)
    leader = cluster.elect(A)

    assert begin(leader, A) == begin(leader, region=Region("r1")) == [A]
    assert not is_paused(leader)


def test_a_request_that_cannot_be_fulfilled_is_refused() -> None:
    cluster = in_regions(3)
    leader = cluster.elect(A)
    for node_id, region in (("n9", None), (None, "r9"), ("n2", "r2")):
        with pytest.raises(InvalidArgument):
            begin(leader, NodeId(node_id) if node_id else None, Region(region) if region else None)

    assert not is_paused(leader)


def test_only_a_leader_with_links_can_hand_over() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    with pytest.raises(NotLeader):
        begin(cluster[B], A)
    cluster.disconnect(A, B)
    cluster.disconnect(A, C)
    with pytest.raises(Unavailable, match="no link"):
        begin(leader)


def test_one_transfer_at_a_time_and_the_same_request_is_joined() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    first, second = begin(leader, C), begin(leader)
    with pytest.raises(Unavailable, match="already"):
        begin(leader, B)
    cluster.wait(0.1)

    assert leads(cluster) == first == second == [C]


# Without a gap -----------------------------------------------------------------------------------------------------


def test_writes_are_admitted_while_the_target_catches_up() -> None:
    """It may lack a lot; nobody waits for it until the rest is a matter of one round trip."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.cut = frozenset({(A, C)})
    cluster.write(b"C lacks this")
    begin(leader, C)
    cluster.take(A)
    cluster.write(b"k")

    assert leads(cluster) == [A]
    assert not is_paused(leader)


def test_a_target_that_catches_up_slowly_goes_another_round_before_anybody_waits() -> None:
    """How long a round took is how long a pause would last."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.cut = frozenset({(A, C)})
    cluster.write(b"C lacks this")
    begin(leader, C)
    cluster.wait(LAN.election_timeout_min_s)
    cluster.cut = frozenset()
    cluster.connect(A, C)
    cluster.hold = frozenset({(C, A)})
    cluster.deliver()
    sender, out = cluster.late.pop()  # its answer: it holds the log, after far too long
    cluster.hold = frozenset()
    cluster.hand_over(sender, out)
    assert not is_paused(leader)
    cluster.wait(0.1)

    assert leads(cluster) == [C]


def test_a_target_is_asked_only_once_it_holds_everything_and_every_write_is_answered() -> None:
    """Otherwise it could not win, or writes in the log would end without an answer."""
    cluster = HandCluster(5)
    leader = cluster.elect(A)
    cluster.wait(0.1)
    answers: list[object] = []
    begin(leader, C)
    leader.replica.proposals.offer(put(b"k"), answers.append)
    cluster.hold = frozenset((name, A) for name in cluster.nodes if name not in (A, C))
    cluster.take(A)
    cluster.deliver()  # C holds it; with A that is no majority
    cluster.take(A)
    assert bodies([out for _, out in cluster.wire], "timeout_now") == []
    assert is_paused(leader)
    cluster.hold = frozenset()
    for sender, out in cluster.late:
        cluster.hand_over(sender, out)
    assert isinstance(answers[0], store_pb2.BatchOutcome)
    cluster.deliver()

    assert leads(cluster) == [C]


def test_writes_wait_during_a_transfer_and_are_surely_not_proposed_when_it_succeeds() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.wait(0.1)
    last = leader.replica.journal.last_index
    begin(leader, C)
    cluster.take(A)
    answers: list[object] = []
    leader.replica.proposals.offer(put(b"k"), answers.append)
    cluster.take(A)
    cluster.deliver()

    assert leads(cluster) == [C]
    assert [type(answer) for answer in answers] == [NotLeader]
    assert leader.log()[last : last + 1] == [(last + 1, cluster[C].replica.graft.term)]  # C's no-op, not the write


def test_reads_that_wait_during_a_transfer_are_free_to_ask_the_next_leader() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.wait(0.1)
    begin(leader, C)
    cluster.hold = frozenset({(B, A)})
    cluster.take(A)
    answers: list[object] = []
    leader.replica.reads.ask(answers.append)
    cluster.deliver()

    assert leads(cluster) == [C]
    assert [type(answer) for answer in answers] == [NotLeader]


def test_a_deposed_leader_knows_who_will_lead_before_it_hears_so() -> None:
    """Callers that waited can ask it at once: its vote and their questions travel together."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.wait(0.1)
    begin(leader, C)
    assert leader.replica.transfers.successor is None
    cluster.hold = frozenset({(C, B)})
    cluster.take(A)
    while leader.replica.graft.is_leader:
        sender, out = cluster.wire.popleft()
        cluster.hand_over(sender, out)
    assert leads(cluster) == []
    assert [leader.replica.transfers.successor] == [C]
    answers: list[object] = []
    leader.replica.forwards.ask(C, WRITE, WriteRequest(put(b"k")), answers.append)
    cluster.take(A)
    cluster.hold = frozenset()
    cluster.deliver()

    assert isinstance(answers[0], store_pb2.BatchOutcome)
    assert leader.replica.transfers.successor is None


# When it fails -----------------------------------------------------------------------------------------------------


def test_writes_go_on_when_the_target_does_not_campaign() -> None:
    """They waited for one election timeout, however much time the transfer was given."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.wait(0.1)
    heard: list[object] = []
    leader.replica.transfers.begin(TransferRequest(C, timeout_s=60.0), heard.append)
    cluster.cut = frozenset({(A, C)})
    cluster.take(A)
    answers: list[object] = []
    leader.replica.proposals.offer(put(b"k"), answers.append)
    cluster.wait(LAN.election_timeout_max_s / 2)
    assert answers == []
    cluster.cut = frozenset({(A, C), (C, A), (C, B)})
    cluster.wait(LAN.election_timeout_max_s)

    assert isinstance(answers[0], store_pb2.BatchOutcome)
    assert leads(cluster) == [A]
    assert [type(result) for result in heard] == [Unavailable]
    assert "stays the leader" in str(heard[0])


def test_writes_go_on_at_once_when_the_target_dies() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.wait(0.1)
    heard = begin(leader, C)
    cluster.cut = frozenset({(A, C)})
    cluster.take(A)
    assert is_paused(leader)
    cluster.disconnect(A, C)

    assert not is_paused(leader)
    assert [type(result) for result in heard] == [Unavailable]


def test_a_target_that_never_catches_up_makes_nobody_wait_and_its_time_ends() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.cut = frozenset({(A, C)})
    cluster.write(b"C lacks this")
    heard = begin(leader, C)
    cluster.wait(TIMEOUT_S / 2)
    cluster.write(b"k")
    cluster.wait(TIMEOUT_S)

    assert leads(cluster) == [A]
    assert [type(result) for result in heard] == [Unavailable]
    assert "catch up" in str(heard[0])


def test_a_transfer_that_another_node_wins_is_told_as_such() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.cut = frozenset({(A, C)})
    cluster.write(b"C lacks this")
    heard: list[object] = []
    leader.replica.transfers.begin(TransferRequest(C, timeout_s=60.0), heard.append)
    cluster.elect(B)
    cluster.wait(0.1)

    assert [type(result) for result in heard] == [Unavailable]
    assert f"{B} has become the leader" in str(heard[0])


# The target ---------------------------------------------------------------------------------------------------------


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
