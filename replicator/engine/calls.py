"""What this node's callers ask of whoever leads: here if this node does, by message if another one does.

A question that was surely not taken up, because the node asked leads no more, goes to the next leader as soon as that
one is heard of. Nothing else is repeated.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from replicator.engine.proposals import Proposal
from replicator.engine.replica import Replica
from replicator.engine.settings import EngineSettings
from replicator.engine.transfer import TransferWish
from replicator.model.clock import Clock
from replicator.model.errors import DeadlineExceeded, NoLeader, NotLeader, OutcomeUnknown, ReplicatorError, Unavailable
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.members import MemberChange, Membership
from replicator.v1 import store_pb2

T = TypeVar("T")
Sink = Callable[[T | ReplicatorError], None]
ANSWER_SHARE: Final = 0.9  # of a caller's time is the leader's; the rest is for its answer to arrive


class _Leading(NamedTuple):
    """Whom to ask. Who leads no more in a term never leads in it again; a successor is somebody who may lead soon."""

    node_id: NodeId
    term: Term
    is_successor: bool


class Calls:
    """Callers' futures and their deadlines. replica: the present one. check: raises what forbids to ask at all."""

    def __init__(
        self, settings: EngineSettings, *, replica: Callable[[], Replica], wake: Callable[[], None], clock: Clock
    ) -> None:
        self._settings, self._replica, self._wake, self._clock = settings, replica, wake, clock
        self._waiting: dict[asyncio.Future[None], _Leading | None] = {}  # for another leader than that one

    async def propose(self, command: bytes, *, timeout_s: float, check: Callable[[], None]) -> store_pb2.Outcome:
        """Raises DeadlineExceeded if the command is surely not in the log, OutcomeUnknown if it may be."""
        proposals: list[Proposal] = []

        def here(replica: Replica, sink: Sink[store_pb2.Outcome]) -> None:
            proposals[:] = [replica.proposals.offer(command, sink)]

        def there(replica: Replica, leader: NodeId, sink: Sink[store_pb2.Outcome]) -> int:
            proposals.clear()
            return replica.forwards.propose(leader, command, sink)

        deadline_s = self._clock.monotonic_s() + timeout_s
        try:
            return await self._ask(here, there, deadline_s, check)
        except _NotAsked:
            raise DeadlineExceeded("the time for the write was over before it was proposed; nothing happened") from None
        except TimeoutError:
            if proposals and not proposals[0].admitted:
                raise DeadlineExceeded("the write was still queued when its time was over; nothing happened") from None
            raise OutcomeUnknown(
                "no majority confirmed the write in time: it may or may not have happened; retry under the same "
                "write id",
                retry_after_s=0.05,
            ) from None
        finally:
            for proposal in proposals:
                proposal.cancelled = True  # has no effect once it is in the log

    async def read_index(self, *, timeout_s: float, check: Callable[[], None]) -> LogIndex:
        """A linearizable point. Raises DeadlineExceeded."""

        def here(replica: Replica, sink: Sink[LogIndex]) -> None:
            replica.reads.ask(sink)

        def there(replica: Replica, leader: NodeId, sink: Sink[LogIndex]) -> int:
            return replica.forwards.read_index(leader, sink)

        try:
            return await self._ask(here, there, self._clock.monotonic_s() + timeout_s, check)
        except TimeoutError:
            raise DeadlineExceeded("no majority confirmed the read in time") from None

    async def change_members(self, change: MemberChange, *, timeout_s: float, check: Callable[[], None]) -> Membership:
        """The membership that grants the wish. Raises DeadlineExceeded if nobody was asked, OutcomeUnknown."""

        def here(replica: Replica, sink: Sink[Membership]) -> None:
            replica.members.ask(change, sink)

        def there(replica: Replica, leader: NodeId, sink: Sink[Membership]) -> int:
            return replica.forwards.change_members(leader, change, sink)

        try:
            return await self._ask(here, there, self._clock.monotonic_s() + timeout_s, check)
        except _NotAsked:
            raise DeadlineExceeded("the time was over before a leader was asked; nothing happened") from None
        except TimeoutError:
            raise OutcomeUnknown(
                "the change of the membership was not confirmed in time: it may be made yet; look at the members, or "
                "ask again, which is safe",
                retry_after_s=0.2,
            ) from None

    async def transfer(self, wish: TransferWish, *, timeout_s: float, check: Callable[[], None]) -> NodeId:
        """Who leads after it. Raises InvalidArgument, Unavailable."""
        deadline_s = self._clock.monotonic_s() + timeout_s

        def left_s() -> float:
            return (deadline_s - self._clock.monotonic_s()) * ANSWER_SHARE

        def here(replica: Replica, sink: Sink[NodeId]) -> None:
            replica.transfers.begin(wish, left_s(), sink)

        def there(replica: Replica, leader: NodeId, sink: Sink[NodeId]) -> int:
            return replica.forwards.transfer(leader, wish, left_s(), sink)

        try:
            return await self._ask(here, there, deadline_s, check)
        except TimeoutError:
            raise Unavailable(
                "the leader has not said in time what became of the transfer; see who leads, and try again",
                retry_after_s=0.5,
            ) from None

    def after_turn(self) -> None:
        """A turn may have brought a leader, or a link to it."""
        for waiter, refused in self._waiting.items():
            if not waiter.done() and self._leading() not in (None, refused):
                waiter.set_result(None)

    def fail_waiting(self, error: ReplicatorError) -> None:
        """Whoever waits for a leader waits in vain: the node stops."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(error)

    # -----------------------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        here: Callable[[Replica, Sink[T]], None],
        there: Callable[[Replica, NodeId, Sink[T]], int],
        deadline_s: float,
        check: Callable[[], None],
    ) -> T:
        """Asks one leader after the other until one answers. Raises what it answers, NoLeader, TimeoutError."""
        refused: _Leading | None = None
        while True:
            check()
            leading = await self._wait_for_leader(deadline_s, refused)
            if self._clock.monotonic_s() >= deadline_s:
                raise _NotAsked
            try:
                return await self._ask_once(leading, here, there, deadline_s)
            except NotLeader:
                refused = leading

    async def _ask_once(
        self,
        leading: _Leading,
        here: Callable[[Replica, Sink[T]], None],
        there: Callable[[Replica, NodeId, Sink[T]], int],
        deadline_s: float,
    ) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        request_id: int | None = None
        if leading.node_id == self._settings.node_id:
            here(self._replica(), _settles(answer))
        else:
            request_id = there(self._replica(), leading.node_id, _settles(answer))
        self._wake()
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self._clock.monotonic_s())):
                return await answer
        finally:
            if request_id is not None:
                self._replica().forwards.forget(request_id)

    async def _wait_for_leader(self, deadline_s: float, refused: _Leading | None) -> _Leading:
        """Waits for a leader that can be reached, for one election timeout at most. Raises NoLeader."""
        wait_s = min(deadline_s - self._clock.monotonic_s(), self._replica().timers.timing.election_timeout_max_s)
        try:
            async with asyncio.timeout(max(0.0, wait_s)):
                while (leading := self._leading()) is None or leading == refused:
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiting[waiter] = refused
                    try:
                        await waiter
                    finally:
                        del self._waiting[waiter]
                return leading
        except TimeoutError:
            links, others = len(self._replica().linked), len(self._replica().group.others)
            raise NoLeader(
                f"no leader can be reached from this node ({links} of {others} peers linked): an "
                "election is under way, or the node is cut off from the majority; retry, or ask another node",
                retry_after_s=self._replica().timers.timing.election_timeout_min_s / 2,
            ) from None

    def _leading(self) -> _Leading | None:
        """The leader that can be reached; or who is about to lead: it can say no, and it may lead when it is asked."""
        replica = self._replica()
        graft, successor = replica.graft, replica.transfers.successor
        leader = graft.leader or successor
        if leader is None:
            return None
        is_reached = graft.is_leader if leader == self._settings.node_id else replica.link_epoch(leader) is not None
        return _Leading(leader, graft.term, leader == successor) if is_reached else None


class _NotAsked(TimeoutError):
    """Time was over before anybody was asked."""


def _settles(answer: "asyncio.Future[T]") -> Sink[T]:
    def settle(result: T | ReplicatorError) -> None:
        if answer.done():  # the caller gave up
            return
        if isinstance(result, ReplicatorError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    return settle
