"""Time as a port: real in a node, virtual in simulation."""

from typing import Protocol


class Clock(Protocol):
    """Two readings that must not be mixed: one only moves forward, one is the calendar."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start; never moves back."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC; may jump."""
        ...
