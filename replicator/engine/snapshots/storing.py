"""Whether a snapshot that this node is offered can be stored: one condition, told when it begins and when it ends.

An offer comes every period for as long as it is needed. Without room none is fetched, and each offer only looks again;
after an attempt that failed on the disk, the next one waits, longer each time.
"""

import logging
import random
from typing import Final

from replicator.core.backoff import Backoff
from replicator.model.clock import Clock
from replicator.model.conditions import Condition, Problem
from replicator.model.ids import LogIndex

_LOG = logging.getLogger(__name__)

RETRY_S_MIN: Final = 2.0
RETRY_S_MAX: Final = 60.0


class SnapshotStoring:
    """One node's."""

    def __init__(self, clock: Clock, dice: random.Random) -> None:
        self._clock = clock
        self._backoff = Backoff(dice, min_s=RETRY_S_MIN, max_s=RETRY_S_MAX)
        self._next_try_s = float("-inf")
        self._problem: Problem | None = None
        self._needed_index = LogIndex(0)

    def problem(self, applied_index: LogIndex) -> str:
        """Why the node cannot be brought up to date by a snapshot; empty if it can, or needs none any more."""
        return str(self._problem) if self._problem and applied_index < self._needed_index else ""

    def may_try(self) -> bool:
        """False for a while after an attempt that failed."""
        return self._clock.monotonic_s() >= self._next_try_s

    def no_room(self, missing: Problem, index: LogIndex) -> None:
        """Looked, and nothing was fetched. index: of the snapshot, which brings the node there."""
        self._begins(missing, index)

    def failed(self, why: str, index: LogIndex) -> None:
        """The disk failed in an attempt, or filled up meanwhile."""
        self._next_try_s = self._clock.monotonic_s() + self._backoff.next_s()
        self._begins(Problem(Condition.SNAPSHOT_NOT_STORED, why), index)

    def stored(self) -> None:
        """One was fetched and made ready."""
        if self._problem:
            _LOG.warning("a snapshot could be stored again")
        self._ends()

    def reached(self, applied_index: LogIndex) -> None:
        """Told after each turn: the log may have brought the node there without a snapshot."""
        if self._problem and applied_index >= self._needed_index:
            _LOG.warning("the snapshot that could not be stored is not needed any more: the log has what was missing")
            self._ends()

    def _ends(self) -> None:
        self._backoff.reset()
        self._problem, self._next_try_s = None, float("-inf")

    def _begins(self, problem: Problem, index: LogIndex) -> None:
        if self._problem is None or self._problem.condition is not problem.condition:
            _LOG.error("%s; this node stays behind, and looks again by itself", problem)
        self._problem, self._needed_index = problem, index
