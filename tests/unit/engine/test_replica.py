"""The contract of turns: one at a time, durable before it is told, links by epoch, roles followed event by event."""

import pytest

from replicator.engine.events import Frame, LinkDown, LinkUp
from replicator.engine.leading.request_table import WRITE, WriteRequest
from replicator.engine.write_behind import STATE_DELAY_S_MAX
from replicator.model.errors import NotLeader, OutcomeUnknown, StorageFull
from replicator.model.log import HardState
from replicator.model.members import MemberRole, SetMember
from replicator.v1 import raft_pb2, store_pb2
from tests.support.commands import put
from tests.support.members import a_member
from tests.support.replicas import NAMES, HandCluster, HandNode, bodies, frame

A, B, C = NAMES[:3]
DISK = b"d" * 16


def a_candidate(cluster: HandCluster) -> HandNode:
    """A campaigns in earnest: its vote requests are on the wire."""
    for _ in range(100):
        cluster.clock.forward(0.1)
        cluster.take(A)
        while cluster.wire and cluster[A].replica.graft.role != "candidate":
            cluster.hand_over(*cluster.wire.popleft())
        if cluster[A].replica.graft.role == "candidate":
            return cluster[A]
    raise AssertionError("A never campaigned")


def heard(node: HandNode, peer: str, **body: object) -> Frame:
    epoch = node.replica.link_epoch(peer)  # type: ignore[arg-type]
    assert epoch is not None
    return frame(peer, epoch, **body)  # type: ignore[arg-type]


# Turns ------------------------------------------------------------------------------------------------------------


def test_only_one_turn_is_open_at_a_time() -> None:
    node = HandNode(A, [B, C])
    turn = node.open()
    with pytest.raises(AssertionError, match="a turn is open"):
        node.open()
    node.close(turn)
    with pytest.raises(AssertionError, match="no turn is open"):
        node.replica.committed()


def test_a_vote_is_in_the_write_of_the_turn_that_sends_it() -> None:
    """The driver of the replica makes the write durable first; so the vote can never be forgotten once told."""
    node = HandNode(A, [B, C])
    node.link(B)
    request = raft_pb2.RequestVote(term=3, last_index=1, last_term=0)
    turn = node.open(frame(B, 1, request_vote=request))

    assert turn.write.hard_state == HardState(3, B, 0)  # type: ignore[arg-type]
    assert [m.vote_reply.term for m in bodies(turn.frames, "vote_reply")] == [3]


def test_an_entry_is_in_the_write_of_the_turn_that_acknowledges_it() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    leader.replica.proposals.offer(put(b"k"), lambda _result: None)
    appends = [out for out in leader.turn() if out.peer == B]
    turn = cluster[B].open(*(Frame(A, out.epoch, out.payload) for out in appends))
    replies = bodies(turn.frames, "append_reply")

    assert [reply.append_reply.next_index for reply in replies] == [leader.replica.journal.last_index + 1]
    assert turn.write.append[-1].index == leader.replica.journal.last_index


def test_an_append_leaves_before_its_leader_has_the_entry_on_disk_and_is_not_counted_before() -> None:
    """Both disks work at the same time; alone with the answers of followers, a leader commits nothing."""
    leader = HandCluster(3).elect(A)
    leader.replica.proposals.offer(put(b"k"), lambda _result: None)
    turn = leader.open()
    index = turn.write.append[-1].index
    appends = bodies(turn.early_frames, "append_entries")

    assert [m.append_entries.entries[-1].index for m in appends] == [index, index]
    assert turn.frames == ()
    assert leader.replica.journal.durable_index == index - 1
    leader.close(turn)
    assert leader.replica.journal.durable_index == index


def test_a_caller_may_be_answered_before_the_turn_that_applies_its_write_is_durable() -> None:
    """Its entry is: by an earlier turn, on a majority. Frames that depend on this turn still wait."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    answers: list[object] = []
    leader.replica.proposals.offer(put(b"k"), answers.append)
    cluster.hold = frozenset({(B, A), (C, A)})
    cluster.take(A)
    cluster.deliver()
    turn = leader.open(*(Frame(sender, out.epoch, out.payload) for sender, out in cluster.late))
    with pytest.raises(AssertionError, match="first what the turn applies"):
        leader.replica.committed()
    outcomes = leader.disk.apply(turn.write.apply)
    leader.replica.applied(outcomes)

    assert answers == [outcomes[-1][0]]
    leader.replica.committed()
    assert leader.replica.journal.durable_hard_state.commit_index < leader.replica.applied_index
    leader.wait(STATE_DELAY_S_MAX)
    assert leader.replica.journal.durable_hard_state.commit_index == leader.replica.applied_index


def test_what_arrives_with_its_commit_index_is_applied_once_it_is_durable_and_at_once() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.hold = frozenset({(A, C), (C, A)})
    cluster.write(b"k")
    index = leader.replica.applied_index
    cluster.hold = frozenset()
    node = cluster[C]
    turn = node.open(*(Frame(A, out.epoch, out.payload) for _, out in cluster.late))

    assert turn.write.append[-1].index == index
    assert turn.write.hard_state is not None
    assert turn.write.hard_state.commit_index == index, "a restarted node must know what it knew"
    assert turn.write.apply == ()
    node.close(turn)
    assert node.replica.next_due_s() <= cluster.clock.monotonic_s(), "nobody else wakes it"
    node.turn()
    assert node.replica.applied_index == index


def test_nothing_is_said_early_in_a_term_that_is_not_durable() -> None:
    """A node that is elected by its own vote leads in the turn in which it votes."""
    cluster = HandCluster(1)
    cluster.join(B, directory_id=DISK)
    cluster.elect(A)
    cluster.change(SetMember(a_member(B, MemberRole.OBSERVER, DISK)))
    cluster.wait(0.2)
    cluster[A].restart()
    epoch = 9
    cluster.take(A, LinkUp(B, epoch, DISK))
    cluster.clock.forward(10.0)
    turn = cluster[A].open()

    assert cluster[A].replica.graft.is_leader
    assert turn.write.hard_state is not None
    assert bodies(turn.early_frames, "append_entries") == []
    assert bodies(turn.frames, "append_entries", to=B) != []


def test_a_caller_is_answered_only_once_the_write_is_applied_and_durable() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    answers: list[object] = []
    leader.replica.proposals.offer(put(b"k"), answers.append)
    cluster.take(A)
    (append,) = [out for sender, out in cluster.wire if out.peer == B and sender == A]
    (reply,) = bodies(cluster[B].turn(Frame(A, append.epoch, append.payload)), "append_reply")
    turn = leader.open(heard(leader, B, append_reply=reply.append_reply))
    assert [entry.index for entry in turn.write.apply] == [leader.replica.journal.last_index]
    assert answers == []
    leader.close(turn)

    assert isinstance(answers[0], store_pb2.BatchOutcome)


def test_a_restart_continues_where_the_disk_stands() -> None:
    """Term, vote, commit index and applied index survive; nothing is applied twice."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.write(b"k")
    cluster.wait(2 * STATE_DELAY_S_MAX)
    before = (leader.replica.graft.term, leader.replica.graft.commit_index, leader.replica.applied_index, leader.log())
    leader.restart()
    turn = leader.open()

    assert turn.write.apply == ()
    assert before == (
        leader.replica.graft.term, leader.replica.graft.commit_index, leader.replica.applied_index, leader.log()
    )  # fmt: skip
    assert leader.replica.journal.hard_state.voted_for == A
    leader.close(turn)


def test_what_a_killed_node_had_only_applied_in_memory_is_applied_again() -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.wait(2 * STATE_DELAY_S_MAX)
    index = cluster.write(b"k")
    assert cluster[B].replica.applied_index == index
    cluster[B].restart()
    assert cluster[B].replica.applied_index < index
    for peer in (A, C):
        cluster.connect(B, peer)
    cluster.wait(2 * STATE_DELAY_S_MAX)

    assert cluster[B].replica.applied_index == index
    assert cluster[B].disk.stored.applied_index == index


# Links ------------------------------------------------------------------------------------------------------------


def test_frames_of_a_superseded_link_are_dropped() -> None:
    """Fault 12: what an earlier connection delivers late must not act as fresh."""
    node = HandNode(A, [B, C])
    node.link(B, epoch=1)
    node.turn(LinkDown(B, 1), LinkUp(B, 2))
    request = raft_pb2.RequestVote(term=9, last_index=9, last_term=9)

    assert node.turn(frame(B, 1, request_vote=request)) == ()
    assert node.replica.graft.term == 0


def test_a_late_farewell_of_an_old_link_does_not_end_the_new_one() -> None:
    node = HandNode(A, [B, C])
    node.link(B, epoch=1)
    node.turn(LinkUp(B, 2), LinkDown(B, 1))

    assert node.replica.link_epoch(B) == 2
    assert B in node.replica.pump.linked


def test_a_newer_link_ends_what_was_asked_on_the_older_one() -> None:
    """Even if nobody said that the older one is gone."""
    cluster = HandCluster(3)
    cluster.elect(A)
    answers: list[object] = []
    cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), answers.append)
    cluster[B].turn(LinkUp(A, 99))

    assert [type(answer) for answer in answers] == [OutcomeUnknown]


def test_a_link_that_brings_nonsense_is_named_and_the_rest_of_it_ignored() -> None:
    """The other links of the same turn are not affected."""
    node = HandNode(A, [B, C])
    node.link(B, C)
    request = raft_pb2.RequestVote(term=9, last_index=9, last_term=9)
    turn = node.open(Frame(B, 1, b"\xff\xff"), frame(B, 1, request_vote=request), frame(C, 1, request_vote=request))

    assert [(peer, epoch) for peer, epoch, _ in turn.bad_links] == [(B, 1)]
    assert bodies(turn.frames, "vote_reply", to=B) == []
    assert len(bodies(turn.frames, "vote_reply", to=C)) == 1
    node.close(turn)
    assert node.replica.linked == {C}


# Roles ------------------------------------------------------------------------------------------------------------


def test_leadership_won_and_lost_within_one_turn_leaves_nothing_queued() -> None:
    """A write that stayed behind would be proposed whenever this node leads again, perhaps hours later."""
    cluster = HandCluster(3)
    node = a_candidate(cluster)
    term = node.replica.graft.term
    node.observer.roles.clear()
    turn = node.open(
        heard(node, B, vote_reply=raft_pb2.VoteReply(term=term)),
        heard(node, B, forward=raft_pb2.Forward(request_id=7, command=put(b"k"))),
        heard(node, B, read_index=raft_pb2.ReadIndex(request_id=8)),
        heard(node, C, append_entries=raft_pb2.AppendEntries(term=term + 1, sequence=1, prev_index=1)),
    )
    node.close(turn)

    assert node.observer.roles == ["leader", "follower"]
    assert node.replica.proposals.depth == 0
    assert [m.forward_reply.refused for m in bodies(turn.early_frames, "forward_reply")] == [NotLeader.reason]
    assert [m.read_index_reply.refused for m in bodies(turn.early_frames, "read_index_reply")] == [NotLeader.reason]


def test_a_deposed_leader_tells_callers_what_is_known_of_their_writes() -> None:
    """In the log: unknown. Only queued: surely not proposed."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    in_the_log: list[object] = []
    queued: list[object] = []
    leader.replica.proposals.offer(put(b"a"), in_the_log.append)
    leader.turn()
    leader.replica.proposals.offer(put(b"b"), queued.append)
    leader.hear(B, stale_term=raft_pb2.StaleTerm(term=leader.replica.graft.term + 5))

    assert [type(answer) for answer in in_the_log] == [OutcomeUnknown]
    assert [type(answer) for answer in queued] == [NotLeader]


# A full disk ------------------------------------------------------------------------------------------------------


def test_writes_that_wait_for_a_turn_are_refused_at_once_when_the_disk_is_full() -> None:
    """Their callers, also those at other nodes, need not wait until there is room; the turn in hand keeps its own."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    leader.replica.proposals.offer(put(b"in hand"), lambda _result: None)
    leader.replica.forwards.serve(
        B, raft_pb2.RaftMessage(forward=raft_pb2.Forward(request_id=1, command=put(b"also in hand")))
    )
    turn = leader.open()
    mine: list[object] = []
    leader.replica.proposals.offer(put(b"mine"), mine.append)
    leader.replica.forwards.serve(
        B, raft_pb2.RaftMessage(forward=raft_pb2.Forward(request_id=2, command=put(b"theirs")))
    )
    frames = leader.replica.refuse_queued("disk full")

    assert [type(answer) for answer in mine] == [StorageFull]
    assert [(m.forward_reply.request_id, m.forward_reply.refused) for m in bodies(frames, "forward_reply")] == [
        (2, StorageFull.reason)
    ]
    assert bodies(leader.close(turn), "forward_reply") == []


def test_what_peers_ask_during_a_full_disk_is_refused_on_their_link_only() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    epoch = leader.replica.link_epoch(B) or 0
    forward = raft_pb2.Forward(request_id=1, command=put(b"k"))
    frames = leader.replica.refuse_forwards(
        [
            frame(B, epoch, forward=forward),
            frame(B, epoch - 1, forward=forward),
            frame(B, epoch, read_index=raft_pb2.ReadIndex(request_id=2)),
            Frame(B, epoch, b"\xff"),
            frame(B, epoch, stale_term=raft_pb2.StaleTerm(term=99)),
        ]
    )

    assert [m.forward_reply.request_id for m in bodies(frames, "forward_reply")] == [1]
    assert [m.read_index_reply.request_id for m in bodies(frames, "read_index_reply")] == [2]
    assert len(frames) == 2


# Timers -----------------------------------------------------------------------------------------------------------


def test_a_node_alone_commits_as_soon_as_its_own_disk_holds_the_entry() -> None:
    """There is no answer of a peer that would wake it."""
    node = HandNode(A, [])
    while not node.replica.graft.is_leader:
        node.wait(0.1)
    node.wait(0.1)
    node.replica.proposals.offer(put(b"k"), lambda _result: None)
    node.turn()

    assert node.replica.next_due_s() <= node.clock.now_s


def test_a_follower_cut_off_from_the_majority_does_not_spin() -> None:
    """Its election deadline has passed and nothing can be won: it looks again a heartbeat later."""
    node = HandNode(A, [B, C])
    node.wait(5.0)

    assert node.replica.next_due_s() - node.clock.now_s >= node.settings.timing.heartbeat_s
