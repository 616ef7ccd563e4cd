"""A caller's wish for another membership, at any node: asked of the leader until granted, refused, or too late."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from replicator.engine.replica import Replica
from replicator.model.clock import Clock
from replicator.model.errors import DeadlineExceeded, NotLeader, OutcomeUnknown, ReplicatorError
from replicator.model.members import MemberChange, Membership

ASK_AGAIN_S: Final = 0.05  # after a leader said that it leads no more


class MemberCalls:
    """Asking again is always safe: a wish says what shall be, not what shall change."""

    def __init__(
        self,
        *,
        replica: Callable[[], Replica],
        clock: Clock,
        wake: Callable[[], None],
        wait_for_leader: Callable[[float], Awaitable[None]],
    ) -> None:
        self._replica, self._clock, self._wake, self._wait_for_leader = replica, clock, wake, wait_for_leader

    async def change(self, change: MemberChange, *, timeout_s: float) -> Membership:
        """The membership that grants the wish, applied at the leader.

        Raises InvalidArgument, NoMajority, ChangeInProgress, NoLeader, Overloaded, ShuttingDown, DeadlineExceeded:
        nothing happened. Raises OutcomeUnknown: the change may be made yet.
        """
        deadline_s = self._clock.monotonic_s() + timeout_s
        asked = False
        while True:
            await self._wait_for_leader(deadline_s)
            left_s = deadline_s - self._clock.monotonic_s()
            if left_s <= 0:
                if asked:
                    raise _unknown()
                raise DeadlineExceeded("the time for the change was over before a leader was asked; nothing happened")
            asked = True
            try:
                return await self._ask(change, left_s)
            except NotLeader:
                await asyncio.sleep(ASK_AGAIN_S)

    async def _ask(self, change: MemberChange, timeout_s: float) -> Membership:
        replica = self._replica()
        answer: asyncio.Future[Membership] = asyncio.get_running_loop().create_future()

        def settle(result: Membership | ReplicatorError) -> None:
            if answer.done():
                return
            if isinstance(result, ReplicatorError):
                answer.set_exception(result)
            else:
                answer.set_result(result)

        request_id: int | None = None
        leader = replica.graft.leader
        if replica.graft.is_leader:
            replica.members.ask(change, settle)
        elif leader is not None:
            request_id = replica.forwards.change_members(leader, change, settle)
        else:
            raise NotLeader("the leader was lost meanwhile")
        self._wake()
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise _unknown() from None
        finally:
            if request_id is not None:
                replica.forwards.forget(request_id)


def _unknown() -> OutcomeUnknown:
    return OutcomeUnknown(
        "the change of the membership was not confirmed in time: it may be made yet; look at the members, or ask "
        "again, which is safe",
        retry_after_s=0.2,
    )
