"""Who may say what to a follower, and what it does when a leader replaces what is committed."""

import pytest

from replicator.engine.events import LinkUp
from replicator.model.errors import HistoryReplaced
from replicator.v1 import raft_pb2
from tests.support.followers import a_follower, answer, append, terms_of
from tests.support.replicas import NAMES, HandCluster, bodies

A, B, C = NAMES[:3]


def test_two_senders_of_appends_in_one_term_are_one_too_many() -> None:
    """The second loses its link; the first goes on."""
    node = a_follower(1, 1)
    answer(node, append((2, 1), 9))
    node.hear(C, append_entries=append((2, 1), 9, 9))

    assert node.last is not None
    assert [bad.peer for bad in node.last.bad_links] == [C]
    assert terms_of(node) == [1, 1, 9]
    assert node.replica.graft.leader == B


def test_an_echo_of_our_clock_that_lies_in_the_future_is_malformed() -> None:
    """It would make what this node holds look newer than it is."""
    node = a_follower(1, 1)
    message = append((2, 1), commit=2)
    message.echo_clock_ms = int(node.clock.now_s * 1000) + 1
    node.hear(B, append_entries=message)

    assert node.last is not None
    assert [bad.peer for bad in node.last.bad_links] == [B]
    assert node.replica.staleness_s() is None


def test_a_clock_that_a_peer_had_before_its_link_came_up_anew_is_forgotten() -> None:
    """A machine that restarts begins its monotonic clock anew: what is echoed of the old one would lie ahead."""
    leader = HandCluster(3).elect(A)
    assert leader.replica.pump.progress[B].peer_clock_ms is not None
    frames = leader.turn(LinkUp(B, 99))
    (sent,) = bodies(frames, "append_entries", to=B)

    assert not sent.append_entries.HasField("echo_clock_ms")
    assert leader.replica.pump.progress[B].peer_clock_ms is None


def test_only_the_leader_of_the_term_can_ask_a_node_to_campaign() -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    node, term = cluster[B], cluster[A].replica.graft.term
    node.hear(C, timeout_now=raft_pb2.TimeoutNow(term=term))
    assert not node.replica.graft.transfer_in_progress
    node.hear(A, timeout_now=raft_pb2.TimeoutNow(term=term))

    assert (node.replica.graft.role, node.replica.graft.term) == ("candidate", term + 1)


# A history that was replaced ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param(append((2, 1), 7, 9), "entry 3 of term 5 .* of term 7", id="an entry of another term"),
        pytest.param(append((3, 7), 9), "entry 3 of term 5 .* of term 7", id="what the append follows"),
        pytest.param(append((1, 1), 1, 7), "entry 3 of term 5 .* of term 7", id="after entries that agree"),
    ],
)
def test_a_node_whose_committed_entries_are_replaced_stops_and_says_so(
    message: raft_pb2.AppendEntries, said: str
) -> None:
    """It has acknowledged them; so it neither takes the others nor goes on without them."""
    node = a_follower(1, 1, 5, 5, commit=3)
    before = node.disk.state
    with pytest.raises(HistoryReplaced, match=f"{said}.* older copies, or the group was founded anew"):
        node.hear(B, append_entries=message)

    assert (node.disk.state, terms_of(node)) == (before, [1, 1, 5, 5])
    node.restart()
    node.link(B, C)
    with pytest.raises(HistoryReplaced):  # the same again
        node.hear(B, append_entries=message)


def test_a_committed_entry_of_the_same_term_that_says_something_else_is_a_replaced_one_too() -> None:
    """Two groups that were founded apart count their terms alike."""
    node = a_follower(1, 1, 1, commit=3)
    message = append((1, 1), 1)
    message.entries[0].payload += b"another write"
    with pytest.raises(HistoryReplaced, match="entry 2 of term 1"):
        node.hear(B, append_entries=message)


def test_entries_that_are_not_committed_are_replaced_as_ever() -> None:
    node = a_follower(1, 1, 5, 5, commit=2)
    answer(node, append((2, 1), 7, 9))

    assert terms_of(node) == [1, 1, 7, 9]
