"""When the next bytes may leave, so that snapshots take a bounded share. Pure: time is handed in."""

from typing import Final

BURST_S: Final = 0.05  # of the rate; makes up for timers that wake late


class Pacer:
    """Hands out send times at `bytes_per_s`.

    Over any t seconds at most (t + BURST_S) * bytes_per_s leave, and one piece.
    Shared by all streams of a node: each is given the next free moment.
    """

    def __init__(self, bytes_per_s: int | None) -> None:
        assert bytes_per_s is None or bytes_per_s > 0, "a rate is positive"
        self._bytes_per_s = bytes_per_s
        self._free_at_s = float("-inf")

    def wait_s(self, now_s: float, size_bytes: int) -> float:
        """Takes the next moment for `size_bytes`; returns the seconds until then, 0 for now."""
        if self._bytes_per_s is None:
            return 0.0
        starts_s = max(self._free_at_s, now_s - BURST_S)
        self._free_at_s = starts_s + size_bytes / self._bytes_per_s
        return max(0.0, starts_s - now_s)
