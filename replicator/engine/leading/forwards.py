"""Questions of a follower to its leader, and the leader's answers. What can be asked: `request_table.py`.

A question is asked once, on one link, and answered on that link or not at all: request ids start anew with a process.
If the link falls first, a write's outcome is unknown and a read may be repeated; the engine repeats neither. The same
holds once the node asked has not been heard to lead for an election timeout: on a silent link, an answer that is lost
would else be waited for until the link falls, which takes many times as long.
Questions and answers may leave before the turn is durable: a question claims nothing, and an answer is given only once
what it says holds whatever this node's disk does next. For the same reason they need no place among Raft's messages on
a link: those go first, so that calls of any size and number delay no heartbeat, append or reply
(transport/links/send_queue.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Final, Generic, Protocol

from replicator.core.backlog import Backlog, BacklogLimits
from replicator.engine.core import ReplicaCore
from replicator.engine.leading.envelopes import body_of, name_of, refusal, refusal_in, result_of
from replicator.engine.leading.request_kinds import AnswerT, LeaderSide, RequestKind, RequestT, Sink
from replicator.engine.leading.request_table import BY_NAME
from replicator.engine.raft.message_bounds import Malformed, check_bounds
from replicator.model.errors import InvalidArgument, Overloaded, ShuttingDown
from replicator.model.ids import GROUP_ID, NodeId
from replicator.v1 import raft_pb2

PENDING_MAX: Final = 65_536


class _Question(Protocol):
    """One that is under way. orphaned_s: since when the node asked is not heard to lead, None while it is."""

    leader: NodeId
    size: int
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
    size: int
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

    def __init__(self, core: ReplicaCore, side: LeaderSide, request_ids: Iterator[int]) -> None:
        self._timers, self._graft, self._clock = core.timers, core.graft, core.clock
        self._links, self._side = core.links, side
        self._questions: dict[int, _Question] = {}
        self._backlog = Backlog(BacklogLimits(floor=core.settings.backlog_bytes))
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
            question.group = GROUP_ID
            check_bounds(question)
        except Malformed as error:
            raise InvalidArgument(f"this request cannot be sent to the leader: {error}") from None
        if len(self._questions) >= PENDING_MAX:
            raise Overloaded(f"{PENDING_MAX} calls already wait for the leader; slow down", retry_after_s=0.05)
        size = len(question.forward.command) if kind.is_write else 0
        if size:
            self._check_backlog(question.forward)
        request_id = next(self._request_ids)
        self._has_orphans |= leader not in self._heard
        self._questions[request_id] = _QuestionOf(leader, kind, request, sink, size)
        self._backlog.begin(size, self._clock.monotonic_s())
        body_of(question).request_id = request_id
        self._links.send_for_caller(leader, question)
        return request_id

    def forget(self, request_id: int) -> None:
        """The caller gave up waiting."""
        self._given_up(request_id)

    def link_down(self, peer: NodeId) -> None:
        """Answers of that peer to what was asked before will never come."""
        for request_id in [number for number, question in self._questions.items() if question.leader == peer]:
            if (question := self._given_up(request_id)) is not None:
                question.fail(f"the link to {peer} fell before it answered")

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
            elif self._given_up(request_id) is not None:  # an answer to another one may have ended it
                question.give_up(self._side, heard[0])

    def fail_all(self, why: str) -> None:
        """The node stops."""
        for request_id in list(self._questions):
            if (question := self._given_up(request_id)) is not None:
                question.fail(why)

    def reply(self, peer: NodeId, reply: raft_pb2.RaftMessage) -> None:
        """The leader has answered. Raises Malformed. Ignored if it answers what was given up, or asked of another."""
        request_id = body_of(reply).request_id
        question = self._questions.get(request_id)
        if question is not None and question.leader == peer:
            if result_of(reply) == "refused":
                self._given_up(request_id)  # that is no work done, and tells nothing of how fast it is
            else:
                del self._questions[request_id]
                self._backlog.end(question.size, self._clock.monotonic_s())
            question.answered(reply)

    def _given_up(self, request_id: int) -> _Question | None:
        question = self._questions.pop(request_id, None)
        if question is not None:
            self._backlog.give_up(question.size)
        return question

    def _check_backlog(self, write: raft_pb2.Forward) -> None:
        """Raises Overloaded: the leader could not answer this in time, or not over the link to it."""
        now_s = self._clock.monotonic_s()
        if not self._backlog.admits(write.timeout_ms / 1000 or inf, now_s):
            raise Overloaded(
                f"{self._backlog.work} bytes of writes wait for the leader already, more than it has been answering "
                "in time; slow down, or allow more time",
                retry_after_s=self._backlog.retry_after_s(len(write.command), now_s),
            )

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
        asked_on = self._links.epoch(peer)

        def send(reply: raft_pb2.RaftMessage) -> None:
            if self._links.epoch(peer) == asked_on:
                self._links.send_for_caller(peer, reply)

        return send
