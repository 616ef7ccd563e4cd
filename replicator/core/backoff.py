"""How long to wait before the next try: exponential with full jitter, so that many callers never return in step.

Knows: the number of failures since the last success, and injected dice. Must not know: clocks, loops, what is retried.
Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015.
"""

import random
from typing import Final

_DOUBLINGS_MAX: Final = 32  # 2**32 times any sane minimum is beyond any sane maximum; keeps the power small


class Backoff:
    """Waits in [min_s, ceiling], uniform; the ceiling starts at twice min_s, doubles with each failure, ends at max_s.

    The floor keeps a lucky series of dice from becoming a busy loop.
    """

    def __init__(self, dice: random.Random, *, min_s: float, max_s: float) -> None:
        assert 0 < min_s <= max_s, f"a wait needs 0 < min_s <= max_s, got {min_s:g} and {max_s:g}"
        self._dice = dice
        self._min_s = min_s
        self._max_s = max_s
        self._failures = 0

    def next_s(self) -> float:
        """Counts one more failure; returns the seconds to wait before the next try."""
        self._failures = min(self._failures + 1, _DOUBLINGS_MAX)
        ceiling_s = min(self._max_s, self._min_s * 2.0**self._failures)
        return self._dice.uniform(self._min_s, ceiling_s)

    def reset(self) -> None:
        """A success: the next wait is short again."""
        self._failures = 0
