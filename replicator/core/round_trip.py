"""How long is the way to a peer and back? Smoothed, with its spread (RFC 6298).

Knows: measured round trips, in seconds. Must not know: who measured them, or of what.
"""

from typing import Final

SMOOTHED_GAIN: Final = 1 / 8  # RFC 6298, 2.3
SPREAD_GAIN: Final = 1 / 4
SPREADS_COVERED: Final = 4


class RoundTrip:
    """SRTT and RTTVAR of one path. Meant for one sample a round trip: with more, its memory would be shorter than one.

    samples: how many were taken; the first ones guess the spread at half the round trip, which takes some to forget.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.smoothed_s = 0.0
        self.spread_s = 0.0

    def add(self, sample_s: float) -> None:
        """One more round trip was measured."""
        assert sample_s >= 0.0, "an answer follows its question"
        if self.samples == 0:
            self.smoothed_s, self.spread_s = sample_s, sample_s / 2
        else:
            self.spread_s += SPREAD_GAIN * (abs(self.smoothed_s - sample_s) - self.spread_s)
            self.smoothed_s += SMOOTHED_GAIN * (sample_s - self.smoothed_s)
        self.samples += 1

    @property
    def upper_s(self) -> float:
        """What hardly a round trip exceeds: TCP waits as long before it sends again. 0.0 if none was measured."""
        return self.smoothed_s + SPREADS_COVERED * self.spread_s
