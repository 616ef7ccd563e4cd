"""Whether this node can make a snapshot for those that need one: one condition, told when it begins and when it ends.

After an attempt that failed, the next one waits, longer each time; who asks meanwhile hears the reason at once, and
turns to another source.
"""

import logging
import random
from typing import Final

from replicator.core.backoff import Backoff
from replicator.model.clock import Clock
from replicator.model.conditions import Condition, Problem

_LOG = logging.getLogger(__name__)

RETRY_S_MIN: Final = 2.0
RETRY_S_MAX: Final = 60.0


class SnapshotProviding:
    """One node's."""

    def __init__(self, clock: Clock, dice: random.Random) -> None:
        self._clock = clock
        self._backoff = Backoff(dice, min_s=RETRY_S_MIN, max_s=RETRY_S_MAX)
        self._next_try_s = float("-inf")
        self._why = ""

    def problem(self) -> str:
        """Why the last attempt failed; empty if it did not, or if nobody needs a snapshot from here any more."""
        return str(Problem(Condition.SNAPSHOT_NOT_MADE, self._why)) if self._why else ""

    @property
    def why(self) -> str:
        """What those hear that ask for one; empty if it can be made as far as is known."""
        return self._why

    def may_try(self) -> bool:
        """False for a while after an attempt that failed."""
        return self._clock.monotonic_s() >= self._next_try_s

    def failed(self, why: str) -> None:
        """An attempt. why: not empty."""
        assert why, "an operator wants to know"
        is_new, self._why = not self._why, why
        self._next_try_s = self._clock.monotonic_s() + self._backoff.next_s()
        if is_new:
            _LOG.error("%s; this node tries again by itself, and members that need one turn to others", self.problem())

    def made(self) -> None:
        """It works."""
        if self._why:
            _LOG.warning("a snapshot could be made again")
        self.not_needed()

    def not_needed(self) -> None:
        """Nobody has asked for a while."""
        self._backoff.reset()
        self._why, self._next_try_s = "", float("-inf")
