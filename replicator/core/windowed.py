"""The greatest value of the recent past, in bounded memory: how long "recent" is, the caller says."""

from collections import deque
from typing import Final

PARTS: Final = 10


class WindowedMaximum:
    """Greatest value of the last `width` of a coordinate that never moves back: seconds, or round trips.

    Kept in tenths of the width, so a value is forgotten between one and 1.1 widths after it was added. Forgets only
    when something newer comes: one that is not fed keeps what it knew.
    """

    def __init__(self, width: float) -> None:
        assert width > 0, "a window has a width"
        self._part_width = width / PARTS
        self._parts: deque[tuple[int, float]] = deque()
        self._best: float | None = None

    @property
    def best(self) -> float | None:
        """None as long as nothing was added."""
        return self._best

    def add(self, at: float, value: float) -> None:
        """`value` was seen at `at`, which is no earlier than what was added before."""
        part = int(at // self._part_width)
        if self._parts and self._parts[-1][0] >= part:
            self._parts[-1] = (self._parts[-1][0], max(self._parts[-1][1], value))
        else:
            self._parts.append((part, value))
            while self._parts[0][0] < part - PARTS:
                self._parts.popleft()
        assert len(self._parts) <= PARTS + 1, "one value a part"
        self._best = max(best for _part, best in self._parts)
