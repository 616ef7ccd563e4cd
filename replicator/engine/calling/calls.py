"""What this node's callers ask of the leader: locally if this node leads, else by message.

A question that was surely not accepted, because the node asked no longer leads, goes to the next leader as soon as that
one is heard of. Nothing else is repeated.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from replicator.engine.calling.asking import Leading, ask, whom_to_ask
from replicator.engine.leading.request_kinds import AnswerT, RequestKind, RequestT, Sink
from replicator.engine.replica import Turning
from replicator.model.clock import Clock
from replicator.model.errors import DeadlineExceeded, NoLeader, NotLeader, ReplicatorError

ANSWER_SHARE: Final = 0.9  # of a caller's time is the leader's; the rest is for its answer to arrive


class Calls:
    """Callers' futures and their deadlines."""

    def __init__(self, turns: Turning, clock: Clock) -> None:
        self._turns, self._clock = turns, clock
        self._waiting: dict[asyncio.Future[None], Leading | None] = {}  # for another leader than that one

    async def ask(
        self,
        kind: RequestKind[RequestT, AnswerT],
        request: RequestT,
        *,
        timeout_s: float,
        check: Callable[[], None],
    ) -> AnswerT:
        """Asks one leader after the other until one answers. check: raises what prevents a request.

        Raises what the leader answers, NoLeader, `kind.late` after the deadline, or DeadlineExceeded if surely no
        leader has accepted the request by then.
        """
        try:
            return await self._ask(kind, request, self._clock.monotonic_s() + timeout_s, check)
        except _NotTaken:
            raise (DeadlineExceeded(kind.untaken) if kind.untaken else kind.late(self._why())) from None
        except TimeoutError:
            raise kind.late(self._why()) from None

    def after_turn(self) -> None:
        """A turn may have brought a leader, or a link to it."""
        leading = whom_to_ask(self._turns.replica) if self._waiting else None
        for waiter, refused in self._waiting.items():
            if not waiter.done() and leading not in (None, refused):
                waiter.set_result(None)

    def fail_waiting(self, error: ReplicatorError) -> None:
        """Fails the callers that wait for a leader: the node stops."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(error)

    # -----------------------------------------------------------------------------------------------------------------

    async def _ask(
        self, kind: RequestKind[RequestT, AnswerT], request: RequestT, deadline_s: float, check: Callable[[], None]
    ) -> AnswerT:
        """Raises what the leader answers, NoLeader, TimeoutError."""
        refused: Leading | None = None
        while True:
            check()
            leading = await self._wait_for_leader(deadline_s, refused)
            if self._clock.monotonic_s() >= deadline_s:
                raise _NotTaken
            try:
                return await self._ask_once(leading, kind, request, deadline_s)
            except NotLeader:
                refused = leading

    async def _ask_once(
        self, leading: Leading, kind: RequestKind[RequestT, AnswerT], request: RequestT, deadline_s: float
    ) -> AnswerT:
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        leaders_s = (deadline_s - self._clock.monotonic_s()) * ANSWER_SHARE
        asked = ask(self._turns.replica, leading, kind, kind.within(request, leaders_s), _settles(answer))
        self._turns.wake()
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
        wait_s = min(deadline_s - self._clock.monotonic_s(), self._turns.replica.timers.timing.election_timeout_max_s)
        try:
            async with asyncio.timeout(max(0.0, wait_s)):
                while (leading := whom_to_ask(self._turns.replica)) is None or leading == refused:
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
        replica = self._turns.replica
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
        problem = self._turns.replica.majority.problem()
        return f" ({problem})" if problem else ""


class _NotTaken(TimeoutError):
    """Time was over, and surely nobody has taken up what was asked."""


def _settles(answer: "asyncio.Future[AnswerT]") -> Sink[AnswerT]:
    def settle(result: AnswerT | ReplicatorError) -> None:
        if answer.done():  # the caller gave up
            return
        if isinstance(result, ReplicatorError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    return settle
