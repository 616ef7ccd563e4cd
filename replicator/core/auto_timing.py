"""Which timers suit the round trips that a leader measures, and when is it time to change those in force?

Exists so that nobody tunes heartbeats and election timeouts by hand. Plain numbers in and out; agreeing on them, and
setting them, is the engine's.

Which round trip counts. Ten of them, as etcd advises, to the slowest voter: a candidate needs a majority, and
after a failure any majority may be the one that is left. But one voter far out of line must not make everybody's
failover slow: beyond three times what the fastest majority needs it counts less, and beyond that an election must
still succeed with it, so never less than four of its round trips. The slowest voter is the same for most leaders, so a
change of leadership seldom changes the timers.

When they change. Needless elections harm more than a slow failover. So longer timers are wanted as soon as each
measurement of some seconds wants them, shorter ones only when each of a whole minute does; small changes are ignored.
No change more than doubles or halves: nodes learn of it one after the other, and meanwhile each must still hear more
than three heartbeats of one timing within the election timeout of the other.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from replicator.core.quorum import others_for_majority
from replicator.core.windowed import WindowedMaximum

ROUND_TRIPS: Final = 10
OUT_OF_LINE: Final = 3.0  # times what the fastest majority needs
SLOWEST_SHARE: Final = 0.4  # of the slowest round trip that always counts: four of its round trips
ELECTION_MS_MIN: Final = 300
ELECTION_MS_MAX: Final = 6_000
STEP_MS: Final = 50
HEARTBEATS: Final = 10  # in the least election timeout
HEARTBEAT_MS_MIN: Final = 50  # of the `lan` profile: more often would only cost
CHANGE_MIN: Final = 0.25
CHANGE_FACTOR_MAX: Final = 2
GROW_AFTER_S: Final = 3.0
SHRINK_AFTER_S: Final = 60.0


class TimingMs(NamedTuple):
    """Timers in milliseconds: heartbeat, and the bounds of the election timeout."""

    heartbeat_ms: int
    election_timeout_min_ms: int
    election_timeout_max_ms: int


def round_trip_to_cover_s(round_trips_s: Sequence[float], voters: int) -> float | None:
    """The round trip that timers must suit. round_trips_s: to each other voter that answers; None if too few do.

    voters: of the whole group, the leader among them.
    """
    needed = others_for_majority(voters)
    if needed == 0 or len(round_trips_s) < needed:
        return None
    ascending = sorted(round_trips_s)
    majority_s, slowest_s = ascending[needed - 1], ascending[-1]
    return min(slowest_s, max(OUT_OF_LINE * majority_s, SLOWEST_SHARE * slowest_s))


def election_ms_for(round_trip_s: float) -> int:
    """Least election timeout for a round trip, in whole steps."""
    return _in_steps(_wanted_ms(round_trip_s))


def _wanted_ms(round_trip_s: float) -> float:
    return min(max(ROUND_TRIPS * round_trip_s * 1000, ELECTION_MS_MIN), ELECTION_MS_MAX)


def _in_steps(wanted_ms: float) -> int:
    """Rounded up to whole steps, within the bounds."""
    return min(math.ceil(wanted_ms / STEP_MS) * STEP_MS, ELECTION_MS_MAX)


def timing_of(election_ms: int) -> TimingMs:
    """All timers, from the least election timeout. 300 ms and 1500 ms give the profiles `lan` and `wan`."""
    return TimingMs(max(election_ms // HEARTBEATS, HEARTBEAT_MS_MIN), election_ms, 2 * election_ms)


class AutoTimer:
    """Watches one leadership. Begins to answer once it has watched for as long as a change must have been wanted."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing can be said of the round trips now: what was seen before proves nothing either."""
        self._least_wanted = WindowedMaximum(GROW_AFTER_S)  # of negative times
        self._most_wanted = WindowedMaximum(SHRINK_AFTER_S)
        self._since_s: float | None = None

    def decide(self, now_s: float, current: TimingMs, round_trip_s: float) -> TimingMs | None:
        """What to change to; None to leave it as it is. round_trip_s: what to cover, as measured at `now_s`."""
        wanted_ms = _wanted_ms(round_trip_s)  # rounded last: a step is a sixth of 300 ms, and would pass for a change
        if self._since_s is None:
            self._since_s = now_s
        self._least_wanted.add(now_s, -wanted_ms)
        self._most_wanted.add(now_s, wanted_ms)
        watched_s = now_s - self._since_s
        least_ms, most_ms = -(self._least_wanted.best or 0.0), self._most_wanted.best or 0.0
        current_ms = current.election_timeout_min_ms
        if watched_s >= GROW_AFTER_S and least_ms >= (1 + CHANGE_MIN) * current_ms:
            return timing_of(min(_in_steps(least_ms), CHANGE_FACTOR_MAX * current_ms))
        if watched_s >= SHRINK_AFTER_S and most_ms <= (1 - CHANGE_MIN) * current_ms:
            half_ms = math.ceil(current_ms / CHANGE_FACTOR_MAX / STEP_MS) * STEP_MS
            return timing_of(max(_in_steps(most_ms), half_ms))
        return None
