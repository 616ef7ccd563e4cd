"""Questions of a follower to its leader, and the leader's answers. What can be asked: `request_table.py`.

A question is asked once, on one link, and answered on that link or not at all: request ids start anew with a process.
If the link falls first, a write's outcome is unknown and a read may be repeated; the engine repeats neither. The same
holds once the node asked has not been heard to lead for an election timeout: on a silent link, an answer that is lost
would else be waited for until the link falls, which takes many times as long.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, Protocol

from replicator.engine.leading.envelopes import body_of, name_of, refusal, refusal_in, result_of
from replicator.engine.leading.request_kinds import AnswerT, LeaderSide, RequestKind, RequestT, Sink
from replicator.engine.leading.request_table import BY_NAME
from replicator.engine.raft.message_bounds import Malformed, check_bounds
from replicator.engine.raft.messages import Send
from replicator.engine.raft.timers import Timers
from replicator.engine.stock.graft import Graft
from replicator.model.clock import Clock
from replicator.model.errors import InvalidArgument, Overloaded, ShuttingDown
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2

PENDING_MAX: Final = 65_536


class _Question(Protocol):
    """One that is under way. orphaned_s: since when the node asked is not heard to lead, None while it is."""

    leader: NodeId
    orphaned_s: float | None

    def answered(self, reply: raft_pb2.RaftMessage) -> None:
        """Raises Malformed, once the caller has been told that the answer is lost."""
        ...

    def fail(self, why: str) -> None:
        """There will be no answer."""
        ...

    def give_up(self, side: LeaderSide, heard: NodeId | None) -> None:
        """The node asked is not heard to lead any more; heard: who is."""
        ...


@dataclass(slots=True)
class _QuestionOf(Generic[RequestT, AnswerT]):
    """Implements _Question, of any kind."""

    leader: NodeId
    kind: RequestKind[RequestT, AnswerT]
    request: RequestT
    sink: Sink[AnswerT]
    orphaned_s: float | None = None

    def answered(self, reply: raft_pb2.RaftMessage) -> None:
        result = result_of(reply)
        if result == "refused":
            self.sink(refusal_in(self.leader, reply))
            return
        try:
            if result != self.kind.answer:
                raise Malformed(f"an answer with {result or 'nothing'} to a question for {self.kind.answer}")
            answer = self.kind.decode_answer(reply)
        except Malformed:
            self.fail(f"{self.leader} answered with something else than was asked for")
            raise
        self.sink(answer)

    def fail(self, why: str) -> None:
        self.sink(self.kind.lost(why))

    def give_up(self, side: LeaderSide, heard: NodeId | None) -> None:
        answer = self.kind.met(side, self.request, heard) if heard is not None else None
        if answer is not None:
            self.sink(answer)
        else:
            self.fail(f"{self.leader} has not answered, and no longer leads as far as this node knows")


class Forwards:
    """Both sides of forwarding, keyed by request ids that are never used twice in a process."""

    def __init__(
        self,
        timers: Timers,
        *,
        graft: Graft,
        clock: Clock,
        side: LeaderSide,
        send: Send,
        link_epoch: Callable[[NodeId], int | None],
        request_ids: Iterator[int],
    ) -> None:
        self._timers, self._graft, self._clock, self._side = timers, graft, clock, side
        self._send, self._link_epoch = send, link_epoch
        self._questions: dict[int, _Question] = {}
        self._request_ids = request_ids
        self._heard: tuple[NodeId | None, NodeId | None] = (None, None)  # at the last step: who leads, who is about to
        self._has_orphans = False
        self.refusing = False  # draining: this node proposes nothing more for others

    # Follower side -------------------------------------------------------------------------------------------------

    def ask(self, leader: NodeId, kind: RequestKind[RequestT, AnswerT], request: RequestT, sink: Sink[AnswerT]) -> int:
        """Asks the leader. Returns the request id. Raises Overloaded or InvalidArgument: nothing was asked.

        What a caller made up must not cost this node its link, so its bounds are checked here.
        """
        question = kind.encode(request)
        try:
            check_bounds(question)
        except Malformed as error:
            raise InvalidArgument(f"this request cannot be sent to the leader: {error}") from None
        if len(self._questions) >= PENDING_MAX:
            raise Overloaded(f"{PENDING_MAX} calls already wait for the leader; slow down", retry_after_s=0.05)
        request_id = next(self._request_ids)
        self._has_orphans |= leader not in self._heard
        self._questions[request_id] = _QuestionOf(leader, kind, request, sink)
        body_of(question).request_id = request_id
        self._send(leader, question)
        return request_id

    def forget(self, request_id: int) -> None:
        """The caller gave up waiting."""
        self._questions.pop(request_id, None)

    def link_down(self, peer: NodeId) -> None:
        """Answers of that peer to what was asked before will never come."""
        for request_id in [number for number, question in self._questions.items() if question.leader == peer]:
            self._questions.pop(request_id).fail(f"the link to {peer} fell before it answered")

    def step(self) -> None:
        """Called in each turn. Gives up what was asked of a node that has not been heard to lead for a while."""
        heard = (self._graft.leader_in_sight, self._side.transfers.successor)
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
                question.give_up(self._side, heard[0])

    def fail_all(self, why: str) -> None:
        """The node stops."""
        questions, self._questions = self._questions, {}
        for question in questions.values():
            question.fail(why)

    def reply(self, peer: NodeId, reply: raft_pb2.RaftMessage) -> None:
        """The leader has answered. Raises Malformed. Ignored if it answers what was given up, or asked of another."""
        request_id = body_of(reply).request_id
        question = self._questions.get(request_id)
        if question is not None and question.leader == peer:
            del self._questions[request_id]
            question.answered(reply)

    # Leader side ---------------------------------------------------------------------------------------------------

    def serve(self, peer: NodeId, question: raft_pb2.RaftMessage) -> None:
        """A follower forwards a request. It is answered once, on the link on which it came or not at all.

        Raises Malformed.
        """
        kind, send = BY_NAME.get(name_of(question)), self._on_this_link(peer)
        if kind is None:
            send(refusal(question, InvalidArgument("the leader's release does not know this request")))
        elif kind.is_write and self.refusing:
            send(refusal(question, ShuttingDown("the leader drains")))
        else:
            kind.serve_message(self._side, question, send)

    def _on_this_link(self, peer: NodeId) -> Callable[[raft_pb2.RaftMessage], None]:
        """Sends on the link that is up now, or not at all."""
        asked_on = self._link_epoch(peer)

        def send(reply: raft_pb2.RaftMessage) -> None:
            if self._link_epoch(peer) == asked_on:
                self._send(peer, reply)

        return send
