"""Commands on their way into the log: batched, bounded, cancelled, answered once, and never promised too much."""

from typing import Any

import pytest

from replicator.core.backlog import RETRY_AFTER_S_MAX
from replicator.engine.events import LinkDown
from replicator.engine.leading.proposals import ENTRY_BYTES_MAX, ENTRY_COMMANDS_MAX, TURN_BYTES_MAX, TURN_COMMANDS_MAX
from replicator.engine.leading.request_table import WRITE, WriteRequest
from replicator.engine.raft.message_bounds import COMMAND_BYTES_MAX
from replicator.machine.codec import decode_entry
from replicator.model.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ShuttingDown,
    StorageFull,
)
from replicator.transport.ports import FRAME_BYTES_MAX
from replicator.v1 import raft_pb2, store_pb2
from tests.support.commands import put
from tests.support.members import voters
from tests.support.replicas import LAN, NAMES, HandCluster, HandNode, hand_settings

A, B, C = NAMES[:3]


def commands_of(node: HandNode, since: int) -> list[int]:
    """How many commands each entry after `since` carries."""
    batches = [decode_entry(entry.payload) for entry in node.disk.entries[since:]]
    return [len(batch.batches) for batch in batches if batch is not None]


def test_all_commands_of_one_turn_share_one_entry() -> None:
    """Group commit: one sync serves every write that arrived meanwhile."""
    leader = HandCluster(3).elect(A)
    last = leader.replica.journal.last_index
    for key in range(10):
        leader.replica.proposals.offer(put(b"%d" % key), lambda _result: None)
    leader.turn()

    assert commands_of(leader, last) == [10]


def test_an_entry_is_closed_by_bytes_and_by_count() -> None:
    leader = HandCluster(3).elect(A)
    last = leader.replica.journal.last_index
    for key in range(3):
        leader.replica.proposals.offer(put(b"%d" % key, b"x" * (ENTRY_BYTES_MAX // 2)), lambda _result: None)
    for key in range(ENTRY_COMMANDS_MAX + 1):
        leader.replica.proposals.offer(put(b"k%d" % key), lambda _result: None)
    leader.turn()
    leader.turn()
    counts = commands_of(leader, last)

    assert counts[:2] == [1, 1]
    assert max(counts) == ENTRY_COMMANDS_MAX
    assert sum(counts) == 3 + ENTRY_COMMANDS_MAX + 1
    assert all(len(entry.payload) <= ENTRY_BYTES_MAX + 64 * ENTRY_COMMANDS_MAX for entry in leader.disk.entries)


def test_callers_of_one_entry_each_get_their_own_outcome() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    answers: dict[int, store_pb2.BatchOutcome] = {}
    for key in range(5):
        leader.replica.proposals.offer(put(b"%d" % key), lambda result, key=key: answers.update({key: result}))  # type: ignore[misc]
    cluster.take(A)
    cluster.deliver()

    assert [answers[key].revisions[0] for key in range(5)] == [1, 2, 3, 4, 5]
    assert len({answer.index for answer in answers.values()}) == 1
    assert leader.replica.proposals.depth == 0


def test_only_a_leader_takes_proposals() -> None:
    follower = HandNode(A, [B, C])
    with pytest.raises(NotLeader):
        follower.replica.proposals.offer(put(b"k"), lambda _result: None)


@pytest.mark.parametrize(("limit", "value"), [("proposals_queued_max", 3), ("proposals_queued_bytes_max", 3000)])
def test_a_full_queue_refuses_and_takes_again_after_the_next_turn(limit: str, value: int) -> None:
    settings: dict[str, Any] = {limit: value}
    leader = HandCluster(3, **settings).elect(A)
    command = put(b"k", b"x" * 980)
    for _ in range(3):
        leader.replica.proposals.offer(command[:1000], lambda _result: None)
    with pytest.raises(Overloaded) as refused:
        leader.replica.proposals.offer(command[:1000], lambda _result: None)
    leader.turn()
    leader.replica.proposals.offer(command[:1000], lambda _result: None)

    assert refused.value.applied == "no"


def test_no_command_is_taken_that_no_link_could_carry() -> None:
    """Its entry would stop the replication of everything after it, under this leader and the next."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    oversized = b"x" * (COMMAND_BYTES_MAX + 1)
    with pytest.raises(InvalidArgument, match=str(COMMAND_BYTES_MAX)):
        leader.replica.proposals.offer(oversized, lambda _result: None)
    with pytest.raises(InvalidArgument, match=str(COMMAND_BYTES_MAX)):
        cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(oversized), lambda _result: None)
    leader.hear(B, forward=raft_pb2.Forward(request_id=1, command=oversized))
    assert leader.last is not None
    assert [bad.peer for bad in leader.last.bad_links] == [B]

    leader.replica.proposals.offer(oversized[:COMMAND_BYTES_MAX], lambda _result: None)
    assert max(len(out.payload) for out in leader.turn()) < FRAME_BYTES_MAX


def test_what_is_uncommitted_is_bounded_and_the_rest_waits_for_answers() -> None:
    cluster = HandCluster(3, uncommitted_bytes_max=2_000_000, backlog_bytes=8_000_000)
    leader = cluster.elect(A)
    last = leader.replica.journal.last_index
    cluster.cut = frozenset({(A, B), (A, C)})
    for key in range(8):
        leader.replica.proposals.offer(put(b"%d" % key, b"x" * 900_000), lambda _result: None)
    cluster.take(A)
    assert leader.replica.journal.last_index - last == 3  # the third one passes the bound, the fourth one waits
    cluster.deliver()
    cluster.cut = frozenset()
    cluster.wait(0.3)

    assert leader.replica.journal.last_index - last == 8
    assert leader.replica.proposals.depth == 0


def test_a_cancelled_proposal_does_not_reach_the_log() -> None:
    """Its caller was told that nothing happened."""
    leader = HandCluster(3).elect(A)
    last = leader.replica.journal.last_index
    answers: list[object] = []
    kept = leader.replica.proposals.offer(put(b"kept"), answers.append)
    gone = leader.replica.proposals.offer(put(b"gone"), answers.append)
    gone.cancelled = True
    leader.turn()

    assert commands_of(leader, last) == [1]
    assert (kept.admitted, gone.admitted) == (True, False)


def test_a_cancelled_batch_appends_nothing() -> None:
    leader = HandCluster(3).elect(A)
    last = leader.replica.journal.last_index
    leader.replica.proposals.offer(put(b"gone"), lambda _result: None).cancelled = True
    leader.turn()

    assert leader.replica.journal.last_index == last


def test_an_entry_of_another_leader_in_the_same_place_answers_nobody_as_applied() -> None:
    """A leads again and applies what B wrote where A's own write once stood: that write is not B's."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.cut = frozenset({(A, B), (A, C), (B, A), (C, A)})
    answers: list[object] = []
    leader.replica.proposals.offer(put(b"mine"), answers.append)
    cluster.take(A)
    cluster.elect(B)
    cluster.cut = frozenset()
    cluster.wait(1.0)

    assert [type(answer) for answer in answers] == [OutcomeUnknown]
    assert cluster[A].log() == cluster[B].log()


def test_a_lost_leader_stops_answering_even_if_its_entry_is_committed_later() -> None:
    """Each caller is answered once."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    answers: list[object] = []
    leader.replica.proposals.offer(put(b"k"), answers.append)
    cluster.take(A)
    leader.hear(B, stale_term=raft_pb2.StaleTerm(term=leader.replica.graft.term + 1))
    cluster.deliver()
    cluster.elect(B)
    cluster.wait(0.3)

    assert [type(answer) for answer in answers] == [OutcomeUnknown]
    assert cluster[A].disk.store.revision == 1  # it did happen, as "unknown" allows


def test_a_node_that_stops_tells_what_is_known() -> None:
    leader = HandCluster(3).elect(A)
    queued: list[object] = []
    in_the_log: list[object] = []
    leader.replica.proposals.offer(put(b"a"), in_the_log.append)
    leader.turn()
    leader.replica.proposals.offer(put(b"b"), queued.append)
    leader.replica.proposals.fail_all(ShuttingDown("the node stops"))

    assert [type(answer) for answer in queued] == [ShuttingDown]
    assert [type(answer) for answer in in_the_log] == [OutcomeUnknown]
    assert leader.replica.proposals.depth == 0


def test_a_caller_that_gave_up_is_not_answered_by_a_refusal() -> None:
    leader = HandCluster(3).elect(A)
    answers: list[object] = []
    leader.replica.proposals.offer(put(b"k"), answers.append).cancelled = True
    leader.replica.proposals.fail_queued(StorageFull("no room"))

    assert answers == []


def test_a_leader_without_a_majority_gives_up_within_one_election_timeout() -> None:
    """Callers learn that their outcome is unknown; nothing waits for ever."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    answers: list[object] = []
    leader.replica.proposals.offer(put(b"k"), answers.append)
    leader.turn(*(LinkDown(peer, leader.replica.link_epoch(peer) or 0) for peer in (B, C)))
    leader.wait(LAN.election_timeout_max_s + 0.1)

    assert not leader.replica.graft.is_leader
    assert [type(answer) for answer in answers] == [OutcomeUnknown]


def test_limits_of_one_node_hold_for_every_queue() -> None:
    """The defaults are finite and named."""
    settings = hand_settings(A, voters(A))

    assert 0 < settings.proposals_queued_max <= 1 << 16
    assert 0 < settings.proposals_queued_bytes_max <= 1 << 28
    assert 0 < settings.uncommitted_bytes_max <= 1 << 28


def test_a_write_whose_deadline_is_over_is_not_proposed_and_its_caller_is_told() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    last = leader.replica.journal.last_index
    answers: list[object] = []
    leader.replica.proposals.offer(put(b"late"), answers.append, timeout_s=0.5)
    leader.replica.proposals.offer(put(b"in time"), lambda _result: None, timeout_s=5.0)
    cluster.clock.forward(0.6)
    leader.replica.proposals.admit()

    assert [type(answer) for answer in answers] == [DeadlineExceeded]
    assert leader.replica.proposals.depth == 1
    leader.turn()
    assert commands_of(leader, last) == [1]


def test_who_has_no_time_left_is_refused_at_once() -> None:
    leader = HandCluster(3).elect(A)
    with pytest.raises(DeadlineExceeded):
        leader.replica.proposals.offer(put(b"k"), lambda _result: None, timeout_s=0.0)


def test_more_than_can_be_committed_in_time_is_refused_with_a_time_to_come_back() -> None:
    leader = HandCluster(3, backlog_bytes=100_000).elect(A)
    for key in range(2):
        leader.replica.proposals.offer(put(b"%d" % key, b"x" * 60_000), lambda _result: None)
    with pytest.raises(Overloaded, match="more than can be committed in time") as refused:
        leader.replica.proposals.offer(put(b"k"), lambda _result: None, timeout_s=5.0)

    assert refused.value.retry_after_s is not None
    assert 0.0 < refused.value.retry_after_s <= RETRY_AFTER_S_MAX


def test_one_turn_appends_so_much_and_leaves_the_rest_to_the_next() -> None:
    """A commit of tens of megabytes takes longer than the others wait for a heartbeat."""
    leader = HandCluster(3, backlog_bytes=16 << 20).elect(A)
    last = leader.replica.journal.last_index
    for key in range(10):
        leader.replica.proposals.offer(put(b"%d" % key, b"x" * 1_000_000), lambda _result: None)
    leader.turn()

    assert sum(len(entry.payload) for entry in leader.disk.entries[last:]) <= TURN_BYTES_MAX + ENTRY_BYTES_MAX
    leader.turn()
    leader.turn()
    assert sum(commands_of(leader, last)) == 10


def test_one_turn_answers_so_many_callers_and_leaves_the_rest_to_the_next() -> None:
    """Thousands of answers in one step of the loop take longer than the others wait for a heartbeat."""
    leader = HandCluster(3).elect(A)
    last = leader.replica.journal.last_index
    for key in range(TURN_COMMANDS_MAX + 1):
        leader.replica.proposals.offer(put(b"%d" % key), lambda _result: None)
    leader.turn()
    assert sum(commands_of(leader, last)) == TURN_COMMANDS_MAX
    leader.turn()
    assert sum(commands_of(leader, last)) == TURN_COMMANDS_MAX + 1
