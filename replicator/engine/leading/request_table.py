"""The table of leader requests: all that a node asks of a leader. A further kind is a row, and its codec.

Its fields in raft.proto get bounds in `message_bounds.py`, and callers a method of the engine (`driver.py`).
"""

from dataclasses import replace
from math import inf
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from replicator.engine.leading.proposals import Proposal, refuse_oversized
from replicator.engine.leading.request_kinds import AnyKind, LeaderSide, RequestKind, Sink
from replicator.engine.leading.transfer import TransferRequest
from replicator.engine.raft.message_bounds import TRANSFER_MS_MAX, Malformed
from replicator.engine.raft.messages import checked_change, checked_membership, member_change
from replicator.machine.group_entries import stored_membership
from replicator.model.errors import DeadlineExceeded, NoLeader, OutcomeUnknown, Unavailable
from replicator.model.ids import LogIndex, NodeId, Region, is_valid_name
from replicator.model.members import MemberChange, Membership
from replicator.v1 import raft_pb2, store_pb2

# A write -----------------------------------------------------------------------------------------------------------


class WriteRequest(NamedTuple):
    """command: a serialized store_pb2.CommandBatch. timeout_s: after which it is not proposed any more."""

    command: bytes
    timeout_s: float = inf


def _encode_command(request: WriteRequest) -> raft_pb2.RaftMessage:
    refuse_oversized(request.command)
    timeout_ms = max(1, _milliseconds(request.timeout_s)) if request.timeout_s < inf else 0
    return raft_pb2.RaftMessage(forward=raft_pb2.Forward(command=request.command, timeout_ms=timeout_ms))


def _decode_command(question: raft_pb2.RaftMessage) -> WriteRequest:
    asked = question.forward
    return WriteRequest(asked.command, asked.timeout_ms / 1000 if asked.timeout_ms else inf)


def _serve_command(side: LeaderSide, request: WriteRequest, sink: Sink[store_pb2.BatchOutcome]) -> Proposal:
    return side.proposals.offer(request.command, sink, request.timeout_s)


def _encode_outcome(reply: raft_pb2.RaftMessage, outcome: store_pb2.BatchOutcome) -> None:
    reply.forward_reply.outcome = outcome.SerializeToString()


def _decode_outcome(reply: raft_pb2.RaftMessage) -> store_pb2.BatchOutcome:
    outcome = store_pb2.BatchOutcome()
    try:
        outcome.ParseFromString(reply.forward_reply.outcome)
    except DecodeError as error:
        raise Malformed(f"an answer that is no outcome: {error}") from None
    return outcome


WRITE: Final = RequestKind[WriteRequest, store_pb2.BatchOutcome](
    name="command",
    answer="outcome",
    encode=_encode_command,
    decode=_decode_command,
    serve=_serve_command,
    encode_answer=_encode_outcome,
    decode_answer=_decode_outcome,
    lost=lambda why: OutcomeUnknown(
        f"{why}: the write may or may not have happened; retry under the same write id", retry_after_s=0.05
    ),
    late=lambda who: OutcomeUnknown(
        f"no majority confirmed the write in time{who}: it may or may not have happened; retry under the same write id",
        retry_after_s=0.05,
    ),
    untaken="the deadline passed before the write was proposed; nothing happened",
    within=lambda request, timeout_s: WriteRequest(request.command, min(request.timeout_s, timeout_s)),
    is_write=True,
)

# A read index ------------------------------------------------------------------------------------------------------


def _encode_read(_request: None) -> raft_pb2.RaftMessage:
    return raft_pb2.RaftMessage(read_index=raft_pb2.ReadIndex())


def _serve_read(side: LeaderSide, _request: None, sink: Sink[LogIndex]) -> None:
    side.reads.ask(sink)


def _encode_index(reply: raft_pb2.RaftMessage, index: LogIndex) -> None:
    reply.read_index_reply.index = index


READ_INDEX: Final = RequestKind[None, LogIndex](
    name="read_index",
    answer="index",
    encode=_encode_read,
    decode=lambda _question: None,
    serve=_serve_read,
    encode_answer=_encode_index,
    decode_answer=lambda reply: LogIndex(reply.read_index_reply.index),
    lost=lambda why: NoLeader(why, retry_after_s=0.05),
    late=lambda who: DeadlineExceeded(f"no majority confirmed the read in time{who}"),
)

# Another membership ------------------------------------------------------------------------------------------------


def _encode_change(change: MemberChange) -> raft_pb2.RaftMessage:
    return raft_pb2.RaftMessage(forward=raft_pb2.Forward(member_change=member_change(change)))


def _serve_change(side: LeaderSide, change: MemberChange, sink: Sink[Membership]) -> None:
    side.members.ask(change, sink)


def _encode_membership(reply: raft_pb2.RaftMessage, membership: Membership) -> None:
    reply.forward_reply.membership.CopyFrom(stored_membership(membership.without_secret()))


MEMBER_CHANGE: Final = RequestKind[MemberChange, Membership](
    name="member_change",
    answer="membership",
    encode=_encode_change,
    decode=lambda question: checked_change(question.forward.member_change),
    serve=_serve_change,
    encode_answer=_encode_membership,
    decode_answer=lambda reply: checked_membership(reply.forward_reply.membership),
    lost=lambda why: OutcomeUnknown(f"{why}: the change may still be applied; asking again is safe"),
    late=lambda who: OutcomeUnknown(
        f"the change of the membership was not confirmed in time{who}: it may still be made; look at the members, or "
        "ask again, which is safe",
        retry_after_s=0.2,
    ),
    untaken="the deadline passed before a leader was asked; nothing happened",
)

# Another leader ----------------------------------------------------------------------------------------------------


def _encode_transfer(request: TransferRequest) -> raft_pb2.RaftMessage:
    transfer = raft_pb2.LeadershipTransfer(
        node_id=request.node_id or "",
        region=request.region or "",
        timeout_ms=_milliseconds(request.timeout_s),
    )
    return raft_pb2.RaftMessage(forward=raft_pb2.Forward(transfer=transfer))


def _decode_transfer(question: raft_pb2.RaftMessage) -> TransferRequest:
    asked = question.forward.transfer
    if not all(is_valid_name(name) for name in (asked.node_id, asked.region) if name):
        raise Malformed("a transfer to what is no name")
    node_id, region = NodeId(asked.node_id) or None, Region(asked.region) or None
    return TransferRequest(node_id, region, timeout_s=asked.timeout_ms / 1000)


def _serve_transfer(side: LeaderSide, request: TransferRequest, sink: Sink[NodeId]) -> None:
    side.transfers.begin(request, sink)


def _encode_leader(reply: raft_pb2.RaftMessage, leader: NodeId) -> None:
    reply.forward_reply.leader_id = leader


def _met_by(side: LeaderSide, request: TransferRequest, leader: NodeId) -> NodeId | None:
    return leader if side.transfers.is_granted_by(request, leader) else None


TRANSFER: Final = RequestKind[TransferRequest, NodeId](
    name="transfer",
    answer="leader_id",
    encode=_encode_transfer,
    decode=_decode_transfer,
    serve=_serve_transfer,
    encode_answer=_encode_leader,
    decode_answer=lambda reply: NodeId(reply.forward_reply.leader_id),
    lost=lambda why: Unavailable(
        f"{why}: leadership may or may not have moved; check which node leads", retry_after_s=0.05
    ),
    late=lambda _who: Unavailable(
        "the leader did not report the result of the transfer in time; check which node leads, and try again",
        retry_after_s=0.5,
    ),
    within=lambda request, timeout_s: replace(request, timeout_s=timeout_s),
    met=_met_by,
)


def _milliseconds(timeout_s: float) -> int:
    return min(max(0, round(timeout_s * 1000)), TRANSFER_MS_MAX)


ROWS: Final[tuple[AnyKind, ...]] = (WRITE, READ_INDEX, MEMBER_CHANGE, TRANSFER)
BY_NAME: Final = {row.name: row for row in ROWS}
