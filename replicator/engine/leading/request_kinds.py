"""What a row of the table of leader requests is: how one kind travels, who serves it, what is said if it is lost.

The rows are in `request_table.py`. Nothing outside of it knows one kind from another: callers ask (`calls.py`), here or
by message (`asking.py`, `forwards.py`), with the row in hand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from replicator.engine.leading.envelopes import refuse, reply_to
from replicator.engine.leading.member_changes import MemberChanges
from replicator.engine.leading.proposals import Proposal, Proposals
from replicator.engine.leading.read_index import ReadIndexes
from replicator.engine.leading.transfer import Transfers
from replicator.model.errors import ReplicatorError
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2

T = TypeVar("T")
RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")
Sink = Callable[[T | ReplicatorError], None]
"""Hears once what became of a request."""


class LeaderSide(NamedTuple):
    """What serves requests, at the node that leads."""

    proposals: Proposals
    reads: ReadIndexes
    members: MemberChanges
    transfers: Transfers


def _unchanged(request: RequestT, _timeout_s: float) -> RequestT:
    return request


def _unknown(_side: LeaderSide, _request: object, _leader: NodeId) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class RequestKind(Generic[RequestT, AnswerT]):
    """One row.

    name, answer: the fields of raft.proto that the request and its answer are in.
    encode: raises InvalidArgument, for what no leader would take. decode, decode_answer: raise Malformed.
    serve: at the leader, which answers the sink once, or raises a ReplicatorError. NotLeader promises that the next
    leader may be asked: the request was not accepted, or is idempotent. No other answer is repeated.
    Returns the proposal, of a request that can be withdrawn while it is queued.
    lost: what to say if there will be no answer; it gets the cause. late: the same of a caller's time that is over; it
    gets, in brackets, which voters are missing, or nothing. untaken: the text if the deadline passed before any leader
    accepted the request; empty: `late`.
    within: the request, for a leader that has so many seconds. met: what the answer must have been, given who leads
    now; None if that does not tell.
    is_write: a node that drains refuses it to others.
    """

    name: str
    answer: str
    encode: Callable[[RequestT], raft_pb2.RaftMessage]
    decode: Callable[[raft_pb2.RaftMessage], RequestT]
    serve: Callable[[LeaderSide, RequestT, Sink[AnswerT]], Proposal | None]
    encode_answer: Callable[[raft_pb2.RaftMessage, AnswerT], None]
    decode_answer: Callable[[raft_pb2.RaftMessage], AnswerT]
    lost: Callable[[str], ReplicatorError]
    late: Callable[[str], ReplicatorError]
    untaken: str = ""
    within: Callable[[RequestT, float], RequestT] = _unchanged
    met: Callable[[LeaderSide, RequestT, NodeId], AnswerT | None] = _unknown
    is_write: bool = False

    def serve_message(
        self, side: LeaderSide, question: raft_pb2.RaftMessage, send: Callable[[raft_pb2.RaftMessage], None]
    ) -> None:
        """Serves what another node asks; `send` gets the answer once. Raises Malformed."""
        request, reply = self.decode(question), reply_to(question)

        def answer(result: AnswerT | ReplicatorError) -> None:
            if isinstance(result, ReplicatorError):
                refuse(reply, result)
            else:
                self.encode_answer(reply, result)
            send(reply)

        try:
            self.serve(side, request, answer)
        except ReplicatorError as error:
            answer(error)


class AnyKind(Protocol):
    """A row, for code that does not depend on the types of request and answer."""

    @property
    def name(self) -> str: ...

    @property
    def answer(self) -> str: ...

    @property
    def is_write(self) -> bool: ...

    def serve_message(
        self, side: LeaderSide, question: raft_pb2.RaftMessage, send: Callable[[raft_pb2.RaftMessage], None]
    ) -> None:
        """See RequestKind."""
        ...
