"""Can one more request be served in time? What is under way, over the rate at which requests have ended of late.

Exists so that a queue holds what can be answered, not what fits in memory: a request that would wait beyond its
deadline is refused at once, while nothing has happened, and the time goes to those that can still be answered.

Knows: amounts of work (bytes, or calls) and times, handed in. Must not know: clocks, what the work is, who asks.

The rate. Each SAMPLE_S of work gives a sample: what ended, over the time that it took. A sample from a time with little
under way says what was asked for, not what could be done, and counts only if it raises the estimate. Up to `floor`,
all is admitted that has more time left than it would wait for: that finds the rate when none is known, and again after
it has changed.
A queue that stands still. If nothing has ended for some time, as long again is expected.
When to come back. Refused requests are given times as if they queued behind what is under way, at the measured rate:
so together they return no faster than they could be served, however many they are.
"""

from dataclasses import dataclass
from math import inf
from typing import Final

SAMPLE_S: Final = 0.1
SAMPLE_WEIGHT: Final = 0.3  # of the newest sample in the estimate
DEADLINE_SHARE: Final = 0.5  # of the time left may be spent waiting: the estimate is one, and the answer has to travel
RETRY_AFTER_S_MIN: Final = 0.05
RETRY_AFTER_S_MAX: Final = 5.0
RETURNS_PER_S_MAX: Final = 1000.0  # a refusal costs, too


@dataclass(frozen=True, slots=True)
class BacklogLimits:
    """floor: work under way up to which only deadlines count. wait_s_max: expected wait beyond which nothing is."""

    floor: int
    wait_s_max: float = 1.0

    def __post_init__(self) -> None:
        assert self.floor > 0, "with a floor of nothing, no rate would ever be found"
        assert self.wait_s_max > 0.0, "some wait is normal"


class Backlog:
    """Work of one unit. Times are one clock's seconds, which never move back."""

    def __init__(self, limits: BacklogLimits) -> None:
        self._limits = limits
        self._work = 0
        self._rate = 0.0  # work a second; 0.0 until something is known
        self._sample_began_s = self._moved_s = 0.0
        self._sample_work = 0
        self._is_sample_busy = False
        self._return_s = -inf

    @property
    def work(self) -> int:
        """Under way."""
        return self._work

    @property
    def rate_per_s(self) -> float:
        """The estimate."""
        return self._rate

    def wait_s(self, now_s: float) -> float:
        """What a request that is admitted now is expected to wait for. Infinite if there is work, and no rate."""
        if self._work == 0:
            return 0.0
        by_rate_s = self._work / self._rate if self._rate > 0.0 else inf
        return max(by_rate_s, now_s - self._moved_s)

    def admits(self, left_s: float, now_s: float) -> bool:
        """left_s: until the deadline of the request."""
        if left_s <= 0.0:
            return False
        if self._work < self._limits.floor:
            return self._rate == 0.0 or self.wait_s(now_s) < left_s
        return self.wait_s(now_s) <= min(self._limits.wait_s_max, left_s * DEADLINE_SHARE)

    def retry_after_s(self, work: int, now_s: float) -> float:
        """When a request for that much work, which is refused now, should come back."""
        wait_s = min(self.wait_s(now_s), RETRY_AFTER_S_MAX)
        takes_s = max(work / self._rate if self._rate > 0.0 else 0.0, 1.0 / RETURNS_PER_S_MAX)
        earliest_s = now_s + max(RETRY_AFTER_S_MIN, wait_s - self._limits.wait_s_max)
        self._return_s = min(max(self._return_s + takes_s, earliest_s), now_s + RETRY_AFTER_S_MAX)
        return self._return_s - now_s

    def begin(self, work: int, now_s: float) -> None:
        """A request was admitted."""
        assert work >= 0, "work is an amount"
        if self._work == 0:
            self._moved_s = now_s
            self._begin_sample(now_s)
        self._work += work

    def end(self, work: int, now_s: float) -> None:
        """A request was served."""
        self._is_sample_busy &= self._work >= self._limits.floor
        self._leave(work)
        self._sample_work += work
        self._moved_s = now_s
        took_s = now_s - self._sample_began_s
        if took_s >= SAMPLE_S:
            self._take_sample(self._sample_work / took_s)
            self._begin_sample(now_s)

    def give_up(self, work: int) -> None:
        """A request left without having been served: that says nothing of the rate."""
        self._leave(work)

    def _leave(self, work: int) -> None:
        self._work -= work
        assert self._work >= 0, "a request ends once"

    def _begin_sample(self, now_s: float) -> None:
        self._sample_began_s, self._sample_work = now_s, 0
        self._is_sample_busy = True

    def _take_sample(self, rate: float) -> None:
        if self._rate == 0.0 or (rate > self._rate and not self._is_sample_busy):
            self._rate = rate
        elif self._is_sample_busy or rate > self._rate:
            self._rate += SAMPLE_WEIGHT * (rate - self._rate)
