"""How much a benchmark does, and how it says what it is doing: the two things that every benchmark is given."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from benchmarks.proc import machine_busy_s

SCALE_MIN: Final = 0.001
QUIET_CORES: Final = 0.35  # idle clusters under test included, which take about 0.1
QUIET_LOOK_S: Final = 0.5

Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """rounds: times that everything is repeated. scale: 1.0 for the published figures, less for a quick look.

    quiet_wait_s: how long to wait, before each sample, for a shared machine to be quiet; then it is taken regardless.
    """

    rounds: int
    scale: float = 1.0
    quiet_wait_s: float = 0.0

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

    async def until_quiet(self) -> bool:
        """True once others left the machine alone for a moment, False if they did not in time. It chooses moments, not
        results: nothing that was measured is dropped.
        """
        give_up_s = time.monotonic() + self.quiet_wait_s
        while time.monotonic() < give_up_s:
            before_s = machine_busy_s()
            await asyncio.sleep(QUIET_LOOK_S)
            if machine_busy_s() - before_s < QUIET_CORES * QUIET_LOOK_S:
                return True
        return False


class Stopwatch:
    """Seconds since it was made, by the monotonic clock."""

    def __init__(self) -> None:
        self._started_s = time.perf_counter()

    def elapsed_s(self) -> float:
        return time.perf_counter() - self._started_s

    def elapsed_ms(self) -> float:
        return self.elapsed_s() * 1000.0
