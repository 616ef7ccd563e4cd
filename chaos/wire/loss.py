"""Loss of packets, as the owner of a stream meets it: nothing is missing, but some of it is late, or the line dies.

TCP sends a lost packet again after a time-out that doubles with each try, and everything behind it waits. After too
many tries it gives up, and the connection is reset.
"""

import random
from dataclasses import dataclass

RETRANSMIT_S = 0.2  # Linux' shortest retransmission time-out
TRIES_MAX = 6  # 0.2 + 0.4 + ... + 6.4 s, then the connection is given up


@dataclass(frozen=True, slots=True)
class Loss:
    """probability: that one transmission of a piece is lost, 0 to 1."""

    probability: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"a probability is from 0 to 1, not {self.probability:g}")

    def draw_s(self, dice: random.Random) -> float | None:
        """Time that the next piece spends being sent again; None: it never arrives, so the connection dies."""
        late_s = 0.0
        if not self.probability:
            return late_s
        for attempt in range(TRIES_MAX):
            if dice.random() >= self.probability:
                return late_s
            late_s += RETRANSMIT_S * 2**attempt
        return None
