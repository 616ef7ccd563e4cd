"""The sender: what a follower is sent, in what order, how much of it at once, and what it is not sent again."""

from replicator.engine.events import Frame, LinkDown, LinkUp
from replicator.engine.raft.progress import IN_FLIGHT_APPENDS_MAX, Progress
from replicator.v1 import raft_pb2
from tests.support.commands import put
from tests.support.replicas import NAMES, HandCluster, HandNode, bodies

A, B, C = NAMES[:3]


def a_leader_with(cluster: HandCluster) -> HandNode:
    leader = cluster.elect(A)
    cluster.wait(0.1)
    return leader


def appends_to(peer: str, frames: object) -> list[raft_pb2.AppendEntries]:
    return [m.append_entries for m in bodies(frames, "append_entries", to=peer)]  # type: ignore[arg-type]


def propose(node: HandNode, *keys: bytes, value: bytes = b"v") -> None:
    for key in keys:
        node.replica.proposals.offer(put(key, value), lambda _result: None)


# Numbering and the window -----------------------------------------------------------------------------------------


def test_every_append_to_a_peer_has_a_number_of_its_own_that_rises_by_one() -> None:
    """A reply names the append that it answers; numbers outlive terms."""
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    numbers = []
    for key in range(5):
        propose(leader, b"%d" % key)
        numbers += [append.sequence for append in appends_to(B, leader.turn())]
    cluster.elect(B)
    before = numbers[-1]
    cluster.elect(A)
    sent = leader.replica.pump.progress[B].sent

    assert numbers == list(range(numbers[0], numbers[0] + 5))
    assert sent > before


def test_what_is_under_way_is_not_sent_again() -> None:
    """Answers take a round trip; meanwhile only what is new goes out (stock repeats everything in flight)."""
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    sent: list[int] = []
    for key in range(5):
        propose(leader, b"%d" % key)
        sent += [entry.index for append in appends_to(B, leader.turn()) for entry in append.entries]

    assert sent == sorted(set(sent))
    assert len(sent) == 5


def test_an_append_ends_where_its_bytes_end_and_entries_are_never_cut() -> None:
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    cluster.cut = frozenset({(A, B)})
    for size in (60, 10, 40, 40, 600):  # KiB; an append carries 64, as long as the path is not known
        propose(leader, b"%d" % size, value=b"x" * (size << 10))
        cluster.take(A)
        cluster.deliver()
    epoch = leader.replica.link_epoch(B) or 0
    appends = appends_to(B, leader.turn(LinkDown(B, epoch), LinkUp(B, epoch + 1)))

    assert [[len(e.payload) >> 10 for e in append.entries] for append in appends] == [[60], [10, 40], [40], [600]]
    assert [append.prev_index + 1 for append in appends] == [append.entries[0].index for append in appends]


def test_no_more_is_in_flight_to_a_silent_peer_than_the_window_allows() -> None:
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    cluster.cut = frozenset({(A, C)})
    sent_bytes = 0
    for key in range(40):
        propose(leader, b"%d" % key, value=b"x" * (1 << 20))
        frames = leader.turn()
        sent_bytes += sum(len(e.payload) for append in appends_to(C, frames) for e in append.entries)
        cluster.wire.extend((A, out) for out in frames)
        cluster.deliver()

    assert leader.replica.applied_index >= 40  # B alone makes the majority
    assert sent_bytes < leader.settings.in_flight_bytes_max + 2 * leader.settings.append_bytes_max


def test_a_peer_that_answers_again_gets_the_rest_without_waiting_for_a_heartbeat() -> None:
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    cluster.hold = frozenset({(A, C)})
    for key in range(40):
        propose(leader, b"%d" % key, value=b"x" * (1 << 20))
        cluster.take(A)
        cluster.deliver()
    held = leader.replica.journal.last_index
    cluster.hold = frozenset()
    for sender, out in cluster.late:
        cluster.hand_over(sender, out)
    cluster.deliver()

    assert cluster[C].replica.journal.last_index == held


def test_an_answer_calls_for_more_to_whom_has_given_it_and_to_nobody_else() -> None:
    cluster = HandCluster(5, append_bytes_max=1 << 16, in_flight_bytes_max=1 << 16, backlog_bytes=4 << 20)
    leader = a_leader_with(cluster)
    cluster.hold = frozenset((peer, A) for peer in NAMES[1:5])
    for key in range(40):
        propose(leader, b"%d" % key, value=b"x" * 60_000)
        cluster.take(A)
    cluster.deliver()
    answer = next(out for sender, out in cluster.late if sender == B)
    frames = leader.turn(Frame(B, answer.epoch, answer.payload))

    assert len(appends_to(B, frames)) == 1
    assert appends_to(C, frames) == []


def test_a_flood_of_reads_does_not_stop_writes_to_a_distant_peer() -> None:
    """Each round of reads sends an empty append; on a long link thousands of them are unanswered at a time."""
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    for _ in range(2 * IN_FLIGHT_APPENDS_MAX):
        leader.replica.reads.ask(lambda _result: None)
        leader.turn()
    propose(leader, b"k")

    assert [len(append.entries) for append in appends_to(B, leader.turn())] == [1]


def test_a_flood_of_empty_appends_does_not_grow_memory_nor_lose_sight_of_the_quorum() -> None:
    """Contact is dated by an append no later than the one answered."""
    progress = Progress()
    for number in range(10 * IN_FLIGHT_APPENDS_MAX):
        progress.next_sequence(0, now_s=float(number))
    progress.answered(10 * IN_FLIGHT_APPENDS_MAX, 1e6)

    assert 0 < progress.acked_sent_s <= 10 * IN_FLIGHT_APPENDS_MAX - 1
    assert progress.acked == progress.sent
    assert progress.has_room()


def test_answers_give_back_the_room_that_they_took() -> None:
    progress = Progress()
    while progress.has_room():
        progress.next_sequence(100, now_s=1.0)
        progress.next_sequence(0, now_s=1.0)
    full_at = progress.sent
    progress.answered(full_at - 2, 2.0)
    assert progress.has_room()
    progress.answered(full_at, 2.0)
    assert progress.in_flight_bytes == 0


def test_a_contact_of_an_earlier_term_proves_nothing_in_this_one() -> None:
    """Somebody else may have led in between."""
    progress = Progress()
    sequence = progress.next_sequence(10, now_s=5.0)
    progress.restart()
    progress.answered(sequence, 6.0)

    assert progress.acked_sent_s == float("-inf")


# Links ------------------------------------------------------------------------------------------------------------


def test_nothing_is_sent_to_a_peer_without_a_link() -> None:
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    cluster.disconnect(A, B)
    propose(leader, b"k")

    assert bodies(leader.turn(), "append_entries", to=B) == []


def test_a_new_link_begins_after_what_was_acknowledged() -> None:
    """What flew on the old one is lost, and is sent again at once, not a heartbeat later."""
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    cluster.cut = frozenset({(A, B)})
    for key in (b"1", b"2", b"3"):
        propose(leader, key)
        cluster.take(A)
        cluster.deliver()
    epoch = leader.replica.link_epoch(B) or 0
    frames = leader.turn(LinkDown(B, epoch), LinkUp(B, epoch + 1))
    (append,) = appends_to(B, frames)

    assert append.prev_index == leader.replica.graft.match_index(B)
    assert [entry.index for entry in append.entries] == [append.prev_index + n for n in (1, 2, 3)]


def test_the_clock_of_a_peer_is_not_echoed_to_whoever_comes_after_it() -> None:
    """A restarted machine counts its time from another zero: an old echo would date its state into the future."""
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    assert leader.replica.pump.progress[B].peer_clock_ms is not None
    epoch = leader.replica.link_epoch(B) or 0
    frames = leader.turn(LinkDown(B, epoch), LinkUp(B, epoch + 1))

    assert not any(append.HasField("echo_clock_ms") for append in appends_to(B, frames))


def test_what_a_full_queue_lost_on_a_live_link_is_sent_again() -> None:
    """The follower misses it at the next append, and says where it stands."""
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    propose(leader, b"lost")
    for out in leader.turn():
        if out.peer != B:
            cluster.wire.append((A, out))
    cluster.deliver()
    cluster.wait(0.1)

    assert cluster[B].log() == cluster[A].log()


# Heartbeats -------------------------------------------------------------------------------------------------------


def test_a_leader_at_rest_sends_one_empty_append_a_heartbeat() -> None:
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    cluster.wait(0.2)
    leader.turn()
    due_s = leader.replica.next_due_s() - cluster.clock.now_s
    early = bodies(leader.turn(), "append_entries", to=B)
    late = bodies(leader.wait(due_s), "append_entries", to=B)

    assert 0 < due_s <= leader.settings.timing.heartbeat_s + 0.002
    assert early == []
    assert [len(m.append_entries.entries) for m in late] == [0]


def test_heartbeats_during_a_slow_commit_claim_only_what_was_durable_before_it() -> None:
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    last, commit_index = leader.replica.journal.last_index, leader.replica.graft.commit_index
    propose(leader, b"slow")
    turn = leader.open()
    (beat,) = appends_to(B, leader.replica.heartbeat_while_committing())

    assert (beat.prev_index, beat.commit_index, list(beat.entries)) == (last, commit_index, [])
    assert [len(append.entries) for append in appends_to(B, leader.close(turn))] == [1]


def test_no_heartbeat_leaves_during_the_commit_that_makes_a_term_durable() -> None:
    """It would speak for a term that a power loss could still take back."""
    cluster = HandCluster(3)
    leader = a_leader_with(cluster)
    assert leader.replica.heartbeat_while_committing() == ()  # no turn is open
    turn = cluster[B].open()
    assert cluster[B].replica.heartbeat_while_committing() == ()  # not the leader
    cluster[B].close(turn)
