"""The time that a leader writes into the log. Sessions and leases expire by it, so it must not jump.

Exists because a wall clock can be stepped by hours, and log time can never be taken back.
Knows: readings of two clocks. Must not know: who reads them.
"""

from typing import Final

RATE_MAX: Final = 2.0  # after a forward step of the wall clock, log time catches up at this rate and no faster


class LogClock:
    """Wall-clock milliseconds that never move back and never outrun elapsed time by more than RATE_MAX."""

    def __init__(self, *, wall_ms: int, monotonic_s: float) -> None:
        self._time_ms = float(wall_ms)
        self._read_s = monotonic_s

    def read_ms(self, *, wall_ms: int, monotonic_s: float) -> int:
        """Log time now."""
        elapsed_ms = max(0.0, monotonic_s - self._read_s) * 1000
        self._read_s = monotonic_s
        self._time_ms = max(self._time_ms, min(float(wall_ms), self._time_ms + RATE_MAX * elapsed_ms))
        return int(self._time_ms)
