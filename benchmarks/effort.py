"""How much a benchmark does, and how it says what it is doing: the two things that every benchmark is given."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

SCALE_MIN: Final = 0.001

Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """rounds: times that everything is repeated. scale: 1.0 for the published figures, less for a quick look."""

    rounds: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}, must be at least 1")
        if self.scale < SCALE_MIN:
            raise ValueError(f"scale is {self.scale}, must be at least {SCALE_MIN}")

    def count(self, full: int) -> int:
        """That many things at this scale, one at least."""
        return max(1, round(full * self.scale))

    def seconds(self, full_s: float) -> float:
        """That long at this scale."""
        return full_s * self.scale


class Stopwatch:
    """Seconds since it was made, by the monotonic clock."""

    def __init__(self) -> None:
        self._started_s = time.perf_counter()

    def elapsed_s(self) -> float:
        return time.perf_counter() - self._started_s

    def elapsed_ms(self) -> float:
        return self.elapsed_s() * 1000.0
