"""The machine's clocks, as the engine's port wants them."""

import time
from typing import Final

# Linux stops CLOCK_MONOTONIC while the machine is suspended. A leader would wake up and take its last contact with a
# majority for a recent one, although another leader has been elected and has written meanwhile.
SINCE_BOOT: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """Implements `model.clock.Clock`."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start, those that the machine was suspended for included; never moves back."""
        return time.clock_gettime(SINCE_BOOT)

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC; jumps when the machine's calendar is set."""
        return time.time_ns() // 1_000_000
