"""Virtual time: a heap of what happens next. Idle time costs nothing."""

import heapq
import itertools
from collections.abc import Callable
from typing import Final

WALL_SKEW_MS_MAX: Final = 500  # what a calendar that is kept by NTP is within
CALENDAR_ERRORS: Final = 1, 1, 7_200, 630_000_000  # times that, by the seed: half a second, an hour, ten years


class Timeline:
    """Runs callbacks in order of their virtual time; ties in order of planning, so that a seed decides everything."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._tie = itertools.count()

    def at(self, when_s: float, action: Callable[[], object]) -> None:
        """Plans `action`; a time that has passed means now."""
        heapq.heappush(self._heap, (max(when_s, self.now_s), next(self._tie), action))

    def after(self, delay_s: float, action: Callable[[], object]) -> None:
        """Plans `action` for `delay_s` from now."""
        self.at(self.now_s + delay_s, action)

    def run_until(self, when_s: float) -> None:
        """Performs everything planned up to `when_s`."""
        while self._heap and self._heap[0][0] <= when_s:
            self.now_s, _, action = heapq.heappop(self._heap)
            action()
        self.now_s = when_s


class NodeClock:
    """One node's view of virtual time: `replicator.model.clock.Clock`, starting at a moment of its own.

    wall_skew_ms: of its calendar. drift_ppm: how much too fast both its clocks run; -500 to 500 are real machines.
    """

    def __init__(self, timeline: Timeline, *, offset_s: float, wall_skew_ms: int, drift_ppm: float = 0.0) -> None:
        self._timeline, self._read_s, self._read_at_s = timeline, offset_s, timeline.now_s
        self._rate, self._wall_skew_ms, self._set_at_s = 1.0 + drift_ppm * 1e-6, wall_skew_ms, timeline.now_s
        self._stands_at_ms: int | None = None

    def monotonic_s(self) -> float:
        """Seconds since this node's arbitrary start, as it counts them."""
        return self._read_s + (self._timeline.now_s - self._read_at_s) * self._rate

    def wall_ms(self) -> int:
        """Virtual calendar, skewed or standing still."""
        if self._stands_at_ms is not None:
            return self._stands_at_ms
        drifted_s = (self._timeline.now_s - self._set_at_s) * (self._rate - 1.0)
        return 1_700_000_000_000 + int((self._timeline.now_s + drifted_s) * 1000) + self._wall_skew_ms

    def timeline_s(self, own_s: float) -> float:
        """How long it takes until this clock has counted so many seconds."""
        return own_s / self._rate

    def set_calendar(self, wall_skew_ms: int) -> None:
        """Somebody corrects the calendar, or believes so: it jumps, and goes on if it stood still."""
        self._stands_at_ms = None
        self._wall_skew_ms, self._set_at_s = wall_skew_ms, self._timeline.now_s

    def stop_calendar(self) -> None:
        """It shows what it shows now until somebody sets it; seconds are counted on."""
        self._stands_at_ms = self.wall_ms()

    def set_drift(self, drift_ppm: float) -> None:
        """The machine gets warmer or colder: both clocks go on from where they are, at another rate."""
        self._wall_skew_ms += int((self._timeline.now_s - self._set_at_s) * (self._rate - 1.0) * 1000)
        self._read_s, self._read_at_s = self.monotonic_s(), self._timeline.now_s
        self._set_at_s, self._rate = self._timeline.now_s, 1.0 + drift_ppm * 1e-6
