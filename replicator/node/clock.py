"""The machine's clocks, as the engine's port wants them."""

import time


class SystemClock:
    """Implements `model.clock.Clock`."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start; never moves back."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC; jumps when the machine's calendar is set."""
        return time.time_ns() // 1_000_000
