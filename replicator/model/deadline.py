"""One deadline per call, fixed when it arrives: every wait inside the call gets what is left, never a fresh timeout."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from replicator.model.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point of a monotonic clock, seconds. now_s: reads that clock; a node hands in its own (model/clock.py)."""

    at_monotonic_s: float
    now_s: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, timeout_s: float, now_s: Callable[[], float] = time.monotonic) -> "Deadline":
        return cls(now_s() + timeout_s, now_s)

    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at_monotonic_s - self.now_s())

    def require_s(self) -> float:
        """Seconds left. Raises DeadlineExceeded if there are none: to be asked before anything is proposed."""
        left_s = self.left_s()
        if left_s <= 0.0:
            raise DeadlineExceeded("the call's deadline passed before anything was done; allow more time")
        return left_s
