"""A narrow line: bytes leave one after the other, no faster than the line carries them."""

from dataclasses import dataclass
from typing import Final

BYTES_PER_S_MIN: Final = 1024  # slower than this is a cut, and is better said as one
QUEUE_S: Final = 0.25  # what a router in front of a narrow line holds before it slows the sender down
QUEUE_BYTES_MIN: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """bytes_per_s: per connection and direction; None: as fast as the machine."""

    bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        if self.bytes_per_s is not None and self.bytes_per_s < BYTES_PER_S_MIN:
            raise ValueError(f"bandwidth must be at least {BYTES_PER_S_MIN} B/s, is {self.bytes_per_s:g}; cut the line")

    def sent_by_s(self, size_bytes: int, *, now_s: float, busy_until_s: float) -> float:
        """When the last of `size_bytes` has left, on a line that is busy with earlier bytes until `busy_until_s`."""
        if self.bytes_per_s is None:
            return now_s
        return max(now_s, busy_until_s) + size_bytes / self.bytes_per_s

    def queue_bytes_max(self, delay_s: float, limit_bytes: int) -> int:
        """Bytes to hold before the sender is slowed down: those in flight on a line this long, and a short queue."""
        if self.bytes_per_s is None:
            return limit_bytes
        return min(limit_bytes, max(QUEUE_BYTES_MIN, int(self.bytes_per_s * (delay_s + QUEUE_S))))
