"""Distance: every byte arrives later, by a fixed time plus a random one. Order is kept by the line, not here."""

import random
from dataclasses import dataclass
from typing import Final

LATENCY_S_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class Latency:
    """One way, seconds. Each piece is delayed by delay_s plus a uniform draw from 0 to jitter_s."""

    delay_s: float = 0.0
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.delay_s <= LATENCY_S_MAX and 0 <= self.jitter_s <= LATENCY_S_MAX):
            raise ValueError(f"delay and jitter must be from 0 to {LATENCY_S_MAX:g} s, are {self}")

    def draw_s(self, dice: random.Random) -> float:
        """The delay of the next piece."""
        return self.delay_s + (dice.uniform(0.0, self.jitter_s) if self.jitter_s else 0.0)
