"""Changes of the group happen one at a time: a caller that comes while another is under way waits for its turn."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from replicator.core.backoff import Backoff
from replicator.model.clock import Clock
from replicator.model.deadline import Deadline
from replicator.model.errors import ChangeInProgress

AGAIN_S_MIN: Final = 0.02
AGAIN_S_MAX: Final = 0.5

Answer = TypeVar("Answer")


async def in_turn(
    ask: Callable[[float], Awaitable[Answer]], timeout_s: float, *, dice: random.Random, clock: Clock
) -> Answer:
    """Asks, with the seconds left, again and again until no other change is in the way or the time is over.

    Raises what `ask` raises; the last ChangeInProgress if its turn did not come in time; DeadlineExceeded if there was
    no time at all. A refusal for want of a turn changes nothing, so asking again is always safe.
    """
    deadline = Deadline.after(timeout_s, clock.monotonic_s)
    backoff = Backoff(dice, min_s=AGAIN_S_MIN, max_s=AGAIN_S_MAX)
    left_s = deadline.require_s()
    while True:
        try:
            return await ask(left_s)
        except ChangeInProgress as error:
            refusal = error
        await asyncio.sleep(min(max(backoff.next_s(), refusal.retry_after_s or 0.0), deadline.left_s()))
        left_s = deadline.left_s()
        if left_s <= 0.0:
            raise refusal
