"""What this node's callers ask of whoever leads: here if this node does, by message if another one does.

A question that was surely not taken up, because the node asked leads no more, goes to the next leader as soon as that
one is heard of. Nothing else is repeated.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from replicator.engine.calling import asking
from replicator.engine.calling.asking import Asked, Leading, Question, Sink, whom_to_ask
from replicator.engine.leading.transfer import TransferWish
from replicator.engine.replica import Replica
from replicator.model.clock import Clock
from replicator.model.errors import DeadlineExceeded, NoLeader, NotLeader, OutcomeUnknown, ReplicatorError, Unavailable
from replicator.model.ids import LogIndex, NodeId
from replicator.model.members import MemberChange, Membership
from replicator.v1 import store_pb2

T = TypeVar("T")
ANSWER_SHARE: Final = 0.9  # of a caller's time is the leader's; the rest is for its answer to arrive


class Calls:
    """Callers' futures and their deadlines. replica: the present one. check: raises what forbids to ask at all."""

    def __init__(self, *, replica: Callable[[], Replica], wake: Callable[[], None], clock: Clock) -> None:
        self._replica, self._wake, self._clock = replica, wake, clock
        self._waiting: dict[asyncio.Future[None], Leading | None] = {}  # for another leader than that one

    async def propose(self, command: bytes, *, timeout_s: float, check: Callable[[], None]) -> store_pb2.Outcome:
        """Raises DeadlineExceeded if the command is surely not in the log, OutcomeUnknown if it may be."""

        def question(replica: Replica, leading: Leading, sink: Sink[store_pb2.Outcome]) -> Asked:
            return asking.propose(replica, leading, command, sink)

        try:
            return await self._ask(question, self._clock.monotonic_s() + timeout_s, check)
        except _NotTaken:
            raise DeadlineExceeded("the time for the write was over before it was proposed; nothing happened") from None
        except TimeoutError:
            raise OutcomeUnknown(
                f"no majority confirmed the write in time{self._why()}: it may or may not have happened; retry under "
                "the same write id",
                retry_after_s=0.05,
            ) from None

    async def read_index(self, *, timeout_s: float, check: Callable[[], None]) -> LogIndex:
        """A linearizable point. Raises DeadlineExceeded."""
        try:
            return await self._ask(asking.read_index, self._clock.monotonic_s() + timeout_s, check)
        except TimeoutError:
            raise DeadlineExceeded(f"no majority confirmed the read in time{self._why()}") from None

    async def change_members(self, change: MemberChange, *, timeout_s: float, check: Callable[[], None]) -> Membership:
        """The membership that grants the wish. Raises DeadlineExceeded if nobody was asked, OutcomeUnknown."""

        def question(replica: Replica, leading: Leading, sink: Sink[Membership]) -> Asked:
            return asking.change_members(replica, leading, change, sink)

        try:
            return await self._ask(question, self._clock.monotonic_s() + timeout_s, check)
        except _NotTaken:
            raise DeadlineExceeded("the time was over before a leader was asked; nothing happened") from None
        except TimeoutError:
            raise OutcomeUnknown(
                f"the change of the membership was not confirmed in time{self._why()}: it may be made yet; look at the "
                "members, or ask again, which is safe",
                retry_after_s=0.2,
            ) from None

    async def transfer(self, wish: TransferWish, *, timeout_s: float, check: Callable[[], None]) -> NodeId:
        """Who leads after it. Raises InvalidArgument, Unavailable."""
        deadline_s = self._clock.monotonic_s() + timeout_s

        def question(replica: Replica, leading: Leading, sink: Sink[NodeId]) -> Asked:
            leaders_s = (deadline_s - self._clock.monotonic_s()) * ANSWER_SHARE
            return asking.transfer(replica, leading, wish, leaders_s, sink)

        try:
            return await self._ask(question, deadline_s, check)
        except TimeoutError:
            raise Unavailable(
                "the leader has not said in time what became of the transfer; see who leads, and try again",
                retry_after_s=0.5,
            ) from None

    def after_turn(self) -> None:
        """A turn may have brought a leader, or a link to it."""
        leading = whom_to_ask(self._replica()) if self._waiting else None
        for waiter, refused in self._waiting.items():
            if not waiter.done() and leading not in (None, refused):
                waiter.set_result(None)

    def fail_waiting(self, error: ReplicatorError) -> None:
        """Whoever waits for a leader waits in vain: the node stops."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(error)

    # -----------------------------------------------------------------------------------------------------------------

    async def _ask(self, question: Question[T], deadline_s: float, check: Callable[[], None]) -> T:
        """Asks one leader after the other until one answers. Raises what it answers, NoLeader, TimeoutError."""
        refused: Leading | None = None
        while True:
            check()
            leading = await self._wait_for_leader(deadline_s, refused)
            if self._clock.monotonic_s() >= deadline_s:
                raise _NotTaken
            try:
                return await self._ask_once(leading, question, deadline_s)
            except NotLeader:
                refused = leading

    async def _ask_once(self, leading: Leading, question: Question[T], deadline_s: float) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        asked = question(self._replica(), leading, _settles(answer))
        self._wake()
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self._clock.monotonic_s())):
                return await answer
        except TimeoutError:
            if asked.is_surely_untaken:
                raise _NotTaken from None
            raise
        finally:
            asked.withdraw()

    async def _wait_for_leader(self, deadline_s: float, refused: Leading | None) -> Leading:
        """Waits for a leader that can be reached, for one election timeout at most. Raises NoLeader."""
        wait_s = min(deadline_s - self._clock.monotonic_s(), self._replica().timers.timing.election_timeout_max_s)
        try:
            async with asyncio.timeout(max(0.0, wait_s)):
                while (leading := whom_to_ask(self._replica())) is None or leading == refused:
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiting[waiter] = refused
                    try:
                        await waiter
                    finally:
                        del self._waiting[waiter]
                return leading
        except TimeoutError:
            raise self._no_leader() from None

    def _no_leader(self) -> NoLeader:
        replica = self._replica()
        links, others = len(replica.linked), len(replica.group.others)
        problem = replica.majority.problem()
        if problem:
            why = f"no leader: {problem}"
        elif replica.graft.leader_in_sight and not replica.group.membership.founder:
            why = (
                "this node has not heard what its group holds, so it passes nothing on to the leader; retry, or ask "
                "another node"
            )
        else:
            why = (
                f"no leader can be reached from this node ({links} of {others} peers linked): an election is under "
                "way, or the node is cut off from the majority; retry, or ask another node"
            )
        return NoLeader(why, retry_after_s=replica.timers.timing.election_timeout_min_s / 2)

    def _why(self) -> str:
        """In brackets, if it is a majority that is missing."""
        problem = self._replica().majority.problem()
        return f" ({problem})" if problem else ""


class _NotTaken(TimeoutError):
    """Time was over, and surely nobody has taken up what was asked."""


def _settles(answer: "asyncio.Future[T]") -> Sink[T]:
    def settle(result: T | ReplicatorError) -> None:
        if answer.done():  # the caller gave up
            return
        if isinstance(result, ReplicatorError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    return settle
