"""Virtual time: a heap of what happens next. Idle time costs nothing."""

import heapq
import itertools
from collections.abc import Callable


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
    """One node's view of virtual time: `replicator.model.clock.Clock`, starting at a moment of its own."""

    def __init__(self, timeline: Timeline, *, offset_s: float, wall_skew_ms: int) -> None:
        self._timeline, self._offset_s, self.wall_skew_ms = timeline, offset_s, wall_skew_ms

    def monotonic_s(self) -> float:
        """Virtual seconds since this node's arbitrary start."""
        return self._timeline.now_s + self._offset_s

    def wall_ms(self) -> int:
        """Virtual calendar, skewed."""
        return 1_700_000_000_000 + int(self._timeline.now_s * 1000) + self.wall_skew_ms
