"""What a follower asks of its leader: to propose a command, to confirm a read, to hand over. And how a leader answers.

A question is asked once, on one link, and answered on that link or not at all: request ids start anew with a process.
If the link falls first, a write's outcome is unknown and a read may be repeated; the engine repeats neither. The same
holds once the node asked has not been heard to lead for an election timeout: on a silent link, an answer that is lost
would else be waited for until the link falls, which takes many times as long.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from replicator.engine.leading.member_changes import MemberChanges, MembershipSink
from replicator.engine.leading.proposals import Proposals, ProposalSink, refuse_oversized
from replicator.engine.leading.read_index import ReadIndexes, ReadSink
from replicator.engine.leading.transfer import Transfers, TransferSink, TransferWish
from replicator.engine.raft.message_bounds import TRANSFER_MS_MAX, Malformed, check_bounds, plain_text
from replicator.engine.raft.messages import Send, checked_change, checked_membership, member_change
from replicator.engine.raft.timers import Timers
from replicator.engine.stock.graft import Graft
from replicator.machine.group_entries import stored_membership
from replicator.model.clock import Clock
from replicator.model.errors import (
    InvalidArgument,
    NoLeader,
    OutcomeUnknown,
    Overloaded,
    ReplicatorError,
    ShuttingDown,
    Unavailable,
    error_from_reason,
)
from replicator.model.ids import LogIndex, NodeId, Region, is_valid_name
from replicator.model.members import MemberChange, Membership
from replicator.v1 import raft_pb2, store_pb2

PENDING_MAX: Final = 65_536


@dataclass(slots=True)
class _Question:
    """orphaned_s: since when the node asked is not heard to lead, None while it is. wish: of a transfer."""

    leader: NodeId
    orphaned_s: float | None = None
    wish: TransferWish | None = None
    write: ProposalSink | None = None
    read: ReadSink | None = None
    transfer: TransferSink | None = None
    change: MembershipSink | None = None

    @property
    def answer(self) -> str:
        """Which result of a ForwardReply is an answer to it."""
        return "outcome" if self.write is not None else "membership" if self.change is not None else "leader_id"


class Forwards:
    """Both sides of forwarding, keyed by request ids that are never used twice in a process."""

    def __init__(
        self,
        timers: Timers,
        *,
        graft: Graft,
        clock: Clock,
        proposals: Proposals,
        reads: ReadIndexes,
        transfers: Transfers,
        changes: MemberChanges,
        send: Send,
        link_epoch: Callable[[NodeId], int | None],
        request_ids: Iterator[int],
    ) -> None:
        self._timers, self._graft, self._clock = timers, graft, clock
        self._proposals, self._reads, self._transfers = proposals, reads, transfers
        self._changes, self._send, self._link_epoch = changes, send, link_epoch
        self._questions: dict[int, _Question] = {}
        self._request_ids = request_ids
        self._heard: tuple[NodeId | None, NodeId | None] = (None, None)  # at the last step: who leads, who is about to
        self._has_orphans = False
        self.refusing = False  # draining: this node proposes nothing more for others

    # Follower side -------------------------------------------------------------------------------------------------

    def propose(self, leader: NodeId, command: bytes, sink: ProposalSink) -> int:
        """Asks the leader to propose. Returns the request id. Raises Overloaded or InvalidArgument."""
        refuse_oversized(command)
        request_id = self._ask(_Question(leader, write=sink))
        self._send(leader, raft_pb2.RaftMessage(forward=raft_pb2.Forward(request_id=request_id, command=command)))
        return request_id

    def read_index(self, leader: NodeId, sink: ReadSink) -> int:
        """Asks the leader for a read index. Returns the request id. Raises Overloaded."""
        request_id = self._ask(_Question(leader, read=sink))
        self._send(leader, raft_pb2.RaftMessage(read_index=raft_pb2.ReadIndex(request_id=request_id)))
        return request_id

    def transfer(self, leader: NodeId, wish: TransferWish, timeout_s: float, sink: TransferSink) -> int:
        """Asks the leader to hand leadership over. Returns the request id. Raises Overloaded, InvalidArgument."""
        timeout_ms = min(max(0, round(timeout_s * 1000)), TRANSFER_MS_MAX)
        transfer = raft_pb2.LeadershipTransfer(
            node_id=wish.node_id or "", region=wish.region or "", timeout_ms=timeout_ms
        )
        return self._pass_on(raft_pb2.Forward(transfer=transfer), _Question(leader, wish=wish, transfer=sink))

    def change_members(self, leader: NodeId, change: MemberChange, sink: MembershipSink) -> int:
        """Asks the leader to change the membership. Returns the request id. Raises Overloaded, InvalidArgument."""
        return self._pass_on(raft_pb2.Forward(member_change=member_change(change)), _Question(leader, change=sink))

    def forget(self, request_id: int) -> None:
        """The caller gave up waiting."""
        self._questions.pop(request_id, None)

    def link_down(self, peer: NodeId) -> None:
        """Answers of that peer to what was asked before will never come."""
        for request_id in [number for number, question in self._questions.items() if question.leader == peer]:
            _fail(self._questions.pop(request_id), f"the link to {peer} fell before it answered")

    def step(self) -> None:
        """Called in each turn. Gives up what was asked of a node that has not been heard to lead for a while."""
        heard = (self._graft.leader_in_sight, self._transfers.successor)
        if heard == self._heard and not self._has_orphans:
            return
        self._heard, self._has_orphans = heard, False
        now_s, patience_s = self._clock.monotonic_s(), self._timers.timing.election_timeout_min_s
        for request_id, question in list(self._questions.items()):
            if question.leader in heard:
                question.orphaned_s = None
                continue
            if question.orphaned_s is None:
                question.orphaned_s = now_s
            if now_s - question.orphaned_s <= patience_s:
                self._has_orphans = True
            elif self._questions.pop(request_id, None) is not None:  # an answer to another one may have ended it
                self._give_up(question, heard[0])

    def _give_up(self, question: _Question, leader: NodeId | None) -> None:
        wish, transfer = question.wish, question.transfer
        if transfer is not None and wish is not None and leader and self._transfers.is_granted_by(wish, leader):
            transfer(leader)
        else:
            _fail(question, f"{question.leader} has not answered, and is not heard to lead any more")

    def fail_all(self, why: str) -> None:
        """The node stops."""
        questions, self._questions = self._questions, {}
        for question in questions.values():
            _fail(question, why)

    def reply(self, peer: NodeId, reply: raft_pb2.ForwardReply) -> None:
        """The leader has answered a forwarded wish. Raises Malformed."""
        question = self._take(peer, reply.request_id)
        if question is None or question.read is not None:
            return
        refusal: ReplicatorError | None = None
        result = reply.WhichOneof("result")
        if result not in (question.answer, "refused"):
            _fail(question, f"{peer} answered with something else than was asked for")
            raise Malformed(f"ForwardReply with {result} to a question for {question.answer}")
        if result == "refused":
            message = reply.message or f"the leader ({peer}) answered {reply.refused}"
            refusal = error_from_reason(reply.refused, message, retry_after_s=0.05)
        if question.transfer is not None:
            question.transfer(refusal or NodeId(reply.leader_id))
        elif question.change is not None:
            question.change(refusal or checked_membership(reply.membership))
        elif question.write is not None:
            question.write(refusal or _outcome_of(reply, question))

    def read_reply(self, peer: NodeId, reply: raft_pb2.ReadIndexReply) -> None:
        """The leader has answered a forwarded read."""
        question = self._take(peer, reply.request_id)
        if question is None or question.read is None:
            return
        if reply.WhichOneof("result") == "refused":
            message = f"the leader ({peer}) answered {reply.refused}"
            question.read(error_from_reason(reply.refused, message, retry_after_s=0.05))
        else:
            question.read(LogIndex(reply.index))

    # Leader side ---------------------------------------------------------------------------------------------------

    def serve(self, peer: NodeId, request: raft_pb2.Forward) -> None:
        """A follower passes on what somebody wishes of the leader. It is answered once that has happened, or cannot.

        Raises Malformed.
        """
        match request.WhichOneof("wish"):
            case "command":
                self._serve_write(peer, request)
            case "transfer":
                self._serve_transfer(peer, request)
            case "member_change":
                self._changes.ask(checked_change(request.member_change), self._answer(peer, request))
            case _:
                self._answer(peer, request)(InvalidArgument("the leader's release does not know this wish"))

    def _serve_write(self, peer: NodeId, request: raft_pb2.Forward) -> None:
        answer = self._answer(peer, request)
        if self.refusing:
            answer(ShuttingDown("the leader drains"))
            return
        try:
            self._proposals.offer(request.command, answer)
        except ReplicatorError as error:
            answer(error)

    def _serve_transfer(self, peer: NodeId, request: raft_pb2.Forward) -> None:
        asked = request.transfer
        if not all(is_valid_name(name) for name in (asked.node_id, asked.region) if name):
            raise Malformed("a transfer to what is no name")
        wish = TransferWish(NodeId(asked.node_id) or None, Region(asked.region) or None)
        answer = self._answer(peer, request)
        try:
            self._transfers.begin(wish, asked.timeout_ms / 1000, answer)
        except ReplicatorError as error:
            answer(error)

    def _answer(
        self, peer: NodeId, request: raft_pb2.Forward
    ) -> Callable[[store_pb2.Outcome | Membership | NodeId | ReplicatorError], None]:
        """Says to the peer what became of its wish, on the link that it was asked on or not at all."""
        asked_on = self._link_epoch(peer)

        def answer(result: store_pb2.Outcome | Membership | NodeId | ReplicatorError) -> None:
            reply = raft_pb2.ForwardReply(request_id=request.request_id)
            if isinstance(result, ReplicatorError):
                reply.refused = result.reason
                reply.message = plain_text(result.message)
            elif isinstance(result, store_pb2.Outcome):
                reply.outcome = result.SerializeToString()
            elif isinstance(result, Membership):
                reply.membership.CopyFrom(stored_membership(result.without_secret()))
            else:
                reply.leader_id = result
            if self._link_epoch(peer) == asked_on:
                self._send(peer, raft_pb2.RaftMessage(forward_reply=reply))

        return answer

    def serve_read(self, peer: NodeId, request: raft_pb2.ReadIndex) -> None:
        """A follower asks for a read index."""
        asked_on = self._link_epoch(peer)

        def answer(result: LogIndex | ReplicatorError) -> None:
            reply = raft_pb2.ReadIndexReply(request_id=request.request_id)
            if isinstance(result, ReplicatorError):
                reply.refused = result.reason
            else:
                reply.index = result
            if self._link_epoch(peer) == asked_on:
                self._send(peer, raft_pb2.RaftMessage(read_index_reply=reply))

        self._reads.ask(answer)

    def _pass_on(self, forward: raft_pb2.Forward, question: _Question) -> int:
        """What a caller made up must not cost this node its link. Raises Overloaded, InvalidArgument."""
        try:
            check_bounds(raft_pb2.RaftMessage(forward=forward))
        except Malformed as error:
            raise InvalidArgument(f"this cannot be asked of the leader: {error}") from None
        forward.request_id = self._ask(question)
        self._send(question.leader, raft_pb2.RaftMessage(forward=forward))
        return forward.request_id

    def _ask(self, question: _Question) -> int:
        if len(self._questions) >= PENDING_MAX:
            raise Overloaded(f"{PENDING_MAX} calls wait for the leader already; slow down", retry_after_s=0.05)
        request_id = next(self._request_ids)
        self._has_orphans |= question.leader not in self._heard
        self._questions[request_id] = question
        return request_id

    def _take(self, peer: NodeId, request_id: int) -> _Question | None:
        question = self._questions.get(request_id)
        if question is None or question.leader != peer:
            return None  # given up, or not theirs to answer
        return self._questions.pop(request_id)


def _outcome_of(reply: raft_pb2.ForwardReply, question: _Question) -> store_pb2.Outcome:
    outcome = store_pb2.Outcome()
    try:
        outcome.ParseFromString(reply.outcome)
    except DecodeError as error:
        _fail(question, f"{question.leader} answered with something else than an outcome")
        raise Malformed(f"forward reply: {error}") from None
    return outcome


def _fail(question: _Question, why: str) -> None:
    if question.write is not None:
        question.write(
            OutcomeUnknown(
                f"{why}: the write may or may not have happened; retry under the same write id", retry_after_s=0.05
            )
        )
    if question.change is not None:
        question.change(OutcomeUnknown(f"{why}: the membership may be changed yet; asking again is safe"))
    if question.read is not None:
        question.read(NoLeader(why, retry_after_s=0.05))
    if question.transfer is not None:
        question.transfer(
            Unavailable(f"{why}: leadership may or may not have moved; see who leads", retry_after_s=0.05)
        )
