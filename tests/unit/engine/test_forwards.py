"""Calls that a follower passes on: asked once, answered on the link they were asked on, or failed."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from replicator.engine.calling.asking import whom_to_ask
from replicator.engine.events import Frame, LinkDown, LinkUp, Outgoing
from replicator.engine.leading import forwards
from replicator.engine.leading.request_table import MEMBER_CHANGE, READ_INDEX, TRANSFER, WRITE, WriteRequest
from replicator.engine.leading.transfer import TransferRequest
from replicator.engine.raft.message_bounds import Malformed
from replicator.machine.group_entries import stored_member
from replicator.model.errors import (
    Internal,
    InvalidArgument,
    NoLeader,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ReplicatorError,
    ShuttingDown,
    StorageFull,
    Unavailable,
)
from replicator.model.ids import LogIndex, NodeId, Region
from replicator.model.members import RemoveMember
from replicator.v1 import raft_pb2, store_pb2
from tests.support.commands import put
from tests.support.members import a_member
from tests.support.replicas import LAN, NAMES, HandCluster, bodies, frame

A, B, C = NAMES[:3]
Answers = list[store_pb2.BatchOutcome | LogIndex | ReplicatorError]


def of(frames: Sequence[Outgoing], sender: NodeId, receiver: NodeId) -> list[Frame]:
    """What `receiver` gets of them."""
    return [Frame(sender, out.epoch, out.payload) for out in frames if out.peer == receiver]


def a_cluster() -> HandCluster:
    cluster = HandCluster(3)
    cluster.elect(A)
    return cluster


def test_a_forwarded_write_is_applied_once_and_its_outcome_comes_back() -> None:
    cluster, answers = a_cluster(), Answers()
    cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), answers.append)
    cluster.take(B)
    cluster.deliver()

    assert isinstance(answers[0], store_pb2.BatchOutcome)
    assert answers[0].revisions[0] == cluster[A].disk.store.revision == 1


def test_a_forwarded_read_comes_back_with_a_point_of_the_log() -> None:
    cluster, answers = a_cluster(), Answers()
    last = cluster.write(b"k")
    cluster[B].replica.forwards.ask(A, READ_INDEX, None, answers.append)
    cluster.take(B)
    cluster.deliver()

    assert answers == [last]


def test_who_does_not_lead_says_so_and_proposes_nothing() -> None:
    cluster, writes, reads = a_cluster(), Answers(), Answers()
    cluster[B].replica.forwards.ask(C, WRITE, WriteRequest(put(b"k")), writes.append)
    cluster[B].replica.forwards.ask(C, READ_INDEX, None, reads.append)
    cluster.take(B)
    cluster.deliver()

    assert [type(answer) for answer in writes] == [NotLeader]
    assert [type(answer) for answer in reads] == [NotLeader]
    assert cluster[A].disk.store.revision == 0


def test_a_link_that_falls_leaves_a_write_unknown_and_a_read_free_to_repeat() -> None:
    cluster, writes, reads = a_cluster(), Answers(), Answers()
    cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), writes.append)
    cluster[B].replica.forwards.ask(A, READ_INDEX, None, reads.append)
    cluster[B].turn()
    cluster[B].turn(LinkDown(A, cluster[B].replica.link_epoch(A) or 0))

    assert [type(answer) for answer in writes] == [OutcomeUnknown]
    assert [type(answer) for answer in reads] == [NoLeader]


def test_who_is_mute_and_leads_no_more_is_not_waited_for_until_its_link_falls() -> None:
    cluster, writes, reads = a_cluster(), Answers(), Answers()
    cluster.cut = frozenset({(A, B), (A, C)})
    cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), writes.append)
    cluster[B].replica.forwards.ask(A, READ_INDEX, None, reads.append)
    cluster.wait(2 * LAN.election_timeout_max_s + LAN.election_timeout_min_s)

    assert cluster[B].replica.link_epoch(A) is not None
    assert cluster[B].replica.graft.leader_in_sight not in (None, A)
    assert [type(answer) for answer in writes] == [OutcomeUnknown]
    assert [type(answer) for answer in reads] == [NoLeader]


def test_a_node_that_hears_of_nobody_knows_no_leader_and_answers_its_callers() -> None:
    cluster, writes = a_cluster(), Answers()
    cluster.cut = frozenset({(A, B), (C, B), (B, A), (B, C)})
    cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), writes.append)
    assert whom_to_ask(cluster[B].replica) is not None
    cluster.wait(LAN.election_timeout_max_s + 0.1)
    assert cluster[B].replica.graft.leader == A, "no other leader is known in this term"
    assert cluster[B].replica.graft.leader_in_sight is None
    assert whom_to_ask(cluster[B].replica) is None
    cluster.wait(LAN.election_timeout_min_s + 0.1)

    assert [type(answer) for answer in writes] == [OutcomeUnknown]
    assert "no longer leads as far as this node knows" in str(writes[0])


def test_who_is_lost_from_sight_and_heard_again_is_waited_for_from_the_beginning() -> None:
    cluster, writes = a_cluster(), Answers()
    alone = frozenset({(A, B), (C, B), (B, A), (B, C)})
    cluster.cut = alone
    cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), writes.append)
    for _ in range(4):
        cluster.cut = alone
        while cluster[B].replica.graft.leader_in_sight is not None:
            cluster.wait(0.02)
        cluster.wait(LAN.election_timeout_min_s / 2)
        cluster.cut = frozenset()
        cluster.wait(2 * LAN.heartbeat_s)
        assert cluster[B].replica.graft.leader_in_sight == A
    assert writes == []


def test_a_slow_disk_makes_nobody_deaf() -> None:
    """What arrives during a commit is heard in the turn after it, however long that commit takes."""
    cluster = a_cluster()
    node = cluster[B]
    cluster.hold = frozenset({(A, B), (C, B)})
    for _ in range(5):
        turn = node.open()
        del cluster.nodes[B]
        cluster.wait(2 * LAN.election_timeout_max_s)
        assert whom_to_ask(node.replica) is not None
        cluster.nodes[B] = node
        cluster.wire.extend((B, out) for out in node.close(turn))
        assert whom_to_ask(node.replica) is not None
        late, cluster.late = cluster.late, []
        cluster.take(B, *(Frame(sender, out.epoch, out.payload) for sender, out in late))
        assert whom_to_ask(node.replica) is not None
    cluster.clock.forward(2 * LAN.election_timeout_max_s)
    node.turn()
    assert whom_to_ask(node.replica) is None, "nothing had arrived"


def test_a_node_whose_disk_is_full_hears_nobody_until_there_is_room() -> None:
    cluster = a_cluster()
    node = cluster[B]
    turn = node.open()
    node.replica.refuse_queued("the disk is full")
    assert whom_to_ask(node.replica) is None
    beats = cluster[A].wait(LAN.heartbeat_s)
    node.close(turn)
    node.turn(*of(beats, A, B))
    assert whom_to_ask(node.replica) is not None

    turn = cluster[A].open()
    cluster[A].replica.refuse_queued("the disk is full")
    assert whom_to_ask(cluster[A].replica) is not None, "a leader knows that it leads"


@pytest.mark.parametrize(
    ("request_", "is_done"),
    [
        (TransferRequest(B, timeout_s=5.0), True),
        (TransferRequest(region=Region("far"), timeout_s=5.0), True),
        (TransferRequest(timeout_s=5.0), True),
        (TransferRequest(C, timeout_s=5.0), False),
        (TransferRequest(region=Region("near"), timeout_s=5.0), False),
    ],
)
def test_a_transfer_whose_answer_is_lost_is_done_if_the_leader_that_is_heard_is_as_asked(
    request_: TransferRequest, is_done: bool
) -> None:
    cluster, answers = HandCluster(3, regions={A: Region("near"), B: Region("far"), C: Region("near")}), list[object]()
    cluster.elect(A)
    cluster[C].replica.forwards.ask(A, TRANSFER, request_, answers.append)
    cluster.cut = frozenset({(A, B), (B, A), (A, C), (C, A)})
    cluster.wait(3 * LAN.election_timeout_max_s)

    assert cluster[C].replica.graft.leader_in_sight == B
    assert answers == [B] if is_done else isinstance(answers[0], Unavailable)


def test_an_answer_that_takes_its_time_is_waited_for_while_its_leader_is_heard() -> None:
    cluster, writes, replies = a_cluster(), Answers(), list[tuple[NodeId, Outgoing]]()
    cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), writes.append)
    cluster.hold = frozenset({(A, B)})
    for _ in range(20):
        cluster.wait(LAN.election_timeout_min_s / 2)
        late, cluster.late = cluster.late, []
        for sender, out in late:
            if bodies([out], "forward_reply"):
                replies.append((sender, out))
            else:
                cluster.hand_over(sender, out)
    assert writes == []
    cluster.hand_over(*replies[0])

    assert isinstance(writes[0], store_pb2.BatchOutcome)


def test_a_leader_answers_on_the_link_it_was_asked_on_or_not_at_all() -> None:
    """A peer that restarted counts its requests from one again: an old answer would be taken for a new one."""
    cluster = a_cluster()
    epoch = cluster[A].replica.link_epoch(B) or 0
    cluster.hold = frozenset({(A, B)})
    cluster.take(A, frame(B, epoch, forward=raft_pb2.Forward(request_id=1, command=put(b"k"))))
    cluster.take(A, frame(B, epoch, read_index=raft_pb2.ReadIndex(request_id=2)))
    cluster.take(A, LinkDown(B, epoch), LinkUp(B, epoch + 50))
    cluster.deliver()
    told = [out for _, out in cluster.late]

    assert cluster[A].disk.store.revision == 1  # C alone was enough to commit it
    assert bodies(told, "forward_reply") == []
    assert bodies(told, "read_index_reply") == []


def test_an_answer_of_somebody_else_than_was_asked_is_ignored() -> None:
    cluster, answers = a_cluster(), Answers()
    request_id = cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), answers.append)
    cluster[B].hear(C, forward_reply=raft_pb2.ForwardReply(request_id=request_id, refused="NOT_LEADER"))
    assert answers == []
    cluster[B].hear(A, forward_reply=raft_pb2.ForwardReply(request_id=request_id, refused="STORAGE_FULL"))

    assert [type(answer) for answer in answers] == [StorageFull]


def test_an_answer_that_comes_twice_counts_once() -> None:
    cluster, answers = a_cluster(), Answers()
    request_id = cluster[B].replica.forwards.ask(A, READ_INDEX, None, answers.append)
    for _ in range(2):
        cluster[B].hear(A, read_index_reply=raft_pb2.ReadIndexReply(request_id=request_id, index=1))

    assert answers == [1]


def test_an_answer_nobody_waits_for_any_more_is_ignored() -> None:
    cluster, answers = a_cluster(), Answers()
    request_id = cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), answers.append)
    cluster[B].replica.forwards.forget(request_id)
    cluster[B].hear(A, forward_reply=raft_pb2.ForwardReply(request_id=request_id, refused="NOT_LEADER"))

    assert answers == []


def test_a_reason_of_a_newer_release_promises_nothing() -> None:
    """Whether the write happened cannot be known from a word that this release does not know."""
    cluster, answers = a_cluster(), Answers()
    request_id = cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), answers.append)
    cluster[B].hear(A, forward_reply=raft_pb2.ForwardReply(request_id=request_id, refused="SOMETHING_NEW"))

    assert isinstance(answers[0], Internal)
    assert answers[0].applied == "unknown"


def test_an_answer_that_does_not_decode_ends_the_link_and_leaves_the_outcome_unknown() -> None:
    cluster, answers = a_cluster(), Answers()
    request_id = cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), answers.append)
    reply = raft_pb2.ForwardReply(request_id=request_id, outcome=b"\xff\xff")
    with pytest.raises(Malformed):
        cluster[B].replica.forwards.reply(A, raft_pb2.RaftMessage(forward_reply=reply))

    assert [type(answer) for answer in answers] == [OutcomeUnknown]


@pytest.mark.parametrize("kind", ["write", "membership", "read"])
def test_an_answer_of_another_kind_ends_the_link_and_tells_the_caller(kind: str) -> None:
    cluster, answers = a_cluster(), list[object]()
    forwards_of_b = cluster[B].replica.forwards
    reply = raft_pb2.ForwardReply(leader_id=C)
    if kind == "write":
        reply.request_id = forwards_of_b.ask(A, WRITE, WriteRequest(put(b"k")), answers.append)
    elif kind == "membership":
        reply.request_id = forwards_of_b.ask(A, MEMBER_CHANGE, RemoveMember(C), answers.append)
    else:
        reply.request_id = forwards_of_b.ask(A, READ_INDEX, None, answers.append)
    turn = cluster[B].open(frame(A, cluster[B].replica.link_epoch(A) or 0, forward_reply=reply))

    assert [(peer, "leader_id" in why) for peer, _, why in turn.bad_links] == [(A, True)]
    assert [type(answer) for answer in answers] == [NoLeader if kind == "read" else OutcomeUnknown]


def test_a_draining_leader_refuses_writes_of_others_and_still_confirms_reads() -> None:
    cluster, writes, reads = a_cluster(), Answers(), Answers()
    cluster[A].replica.drain()
    cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), writes.append)
    cluster[B].replica.forwards.ask(A, READ_INDEX, None, reads.append)
    cluster.take(B)
    cluster.deliver()

    assert [type(answer) for answer in writes] == [ShuttingDown]
    assert len(reads) == 1
    assert not isinstance(reads[0], ReplicatorError)


def test_a_transfer_is_carried_to_the_leader_and_its_result_comes_back() -> None:
    cluster = a_cluster()
    done, refused = list[object](), list[object]()
    cluster[B].replica.forwards.ask(A, TRANSFER, TransferRequest(NodeId("n9"), timeout_s=1.0), refused.append)
    cluster[B].replica.forwards.ask(A, TRANSFER, TransferRequest(C, timeout_s=1.0), done.append)
    cluster.take(B)
    cluster.deliver()
    cluster.wait(0.1)

    assert cluster.leader().node_id == C
    assert done == [C]
    assert [type(answer) for answer in refused] == [InvalidArgument]
    assert "n9 is not a voter" in str(refused[0])


def test_a_link_that_falls_leaves_it_open_whether_leadership_has_moved() -> None:
    cluster, answers = a_cluster(), list[object]()
    cluster[B].replica.forwards.ask(A, TRANSFER, TransferRequest(C, timeout_s=1.0), answers.append)
    cluster[B].turn()
    cluster[B].turn(LinkDown(A, cluster[B].replica.link_epoch(A) or 0))

    assert [type(answer) for answer in answers] == [Unavailable]


def test_a_request_that_this_release_does_not_know_is_refused() -> None:
    cluster = a_cluster()
    frames = cluster[A].hear(B, forward=raft_pb2.Forward(request_id=7))

    assert [m.forward_reply.refused for m in bodies(frames, "forward_reply")] == [InvalidArgument.reason]


def test_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwards, "PENDING_MAX", 3)
    cluster = a_cluster()
    for _ in range(3):
        cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), lambda _result: None)
    with pytest.raises(Overloaded):
        cluster[B].replica.forwards.ask(A, READ_INDEX, None, lambda _result: None)


def test_a_node_that_stops_fails_what_it_asked() -> None:
    cluster, writes, reads = a_cluster(), Answers(), Answers()
    cluster[B].replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), writes.append)
    cluster[B].replica.forwards.ask(A, READ_INDEX, None, reads.append)
    cluster[B].replica.forwards.fail_all("this node stops")

    assert [type(answer) for answer in writes] == [OutcomeUnknown]
    assert [type(answer) for answer in reads] == [NoLeader]


FORGED = "x\n2026-11-26T00:00:00.000Z CRITICAL replicator.storage: forged"


@pytest.mark.parametrize(
    "forward",
    [
        raft_pb2.Forward(transfer=raft_pb2.LeadershipTransfer(node_id=FORGED)),
        raft_pb2.Forward(transfer=raft_pb2.LeadershipTransfer(region=FORGED)),
        raft_pb2.Forward(member_change=raft_pb2.MemberChange(remove=FORGED)),
        raft_pb2.Forward(
            member_change=raft_pb2.MemberChange(set=stored_member(replace(a_member("n9"), peer_address=f"{FORGED}:1")))
        ),
        raft_pb2.Forward(
            member_change=raft_pb2.MemberChange(set=stored_member(replace(a_member("n9"), api_address="unix:/x:1")))
        ),
    ],
    ids=["transfer to a node", "transfer to a region", "remove", "peer address", "api address"],
)
def test_a_request_with_text_that_is_no_name_or_address_ends_the_link(forward: raft_pb2.Forward) -> None:
    cluster = a_cluster()
    with pytest.raises(Malformed):
        cluster[A].replica.forwards.serve(B, raft_pb2.RaftMessage(forward=forward))
