"""Log time: the clock of the group, which its leaders write into the log. Clients are forgotten by it.

Log time counts elapsed time. It continues from the last time in the log, under any leader, by the leader's monotonic
clock. The calendar only corrects it, slowly: log time runs at 1 - CORRECTION_MAX to 1 + CORRECTION_MAX of real time, so
whatever expires after T of log time expires after T / 1.1 to T / 0.9 of real time while one node leads. A tenth is
small enough for a timeout, and large enough to undo an hour away from the calendar within ten. A calendar that is
wrong by years bends log time by a tenth, for as long as its node leads, and no more. Only the first leader of a new
group, with nothing to continue from, starts from its calendar.

Log time that is years off, ahead or behind, still runs: what ages by it ages at the usual rate. It need not come back
to the calendar for that, and takes ten years for each year if it does.

The leader alone keeps the bound. A follower cannot: it may hear of an entry hours late, so it cannot tell honest
idleness from a leap. The state machine cannot: it knows no time but what the entries say, and a bound for each entry
would hold up a group that was idle, while a leader that lies would write more entries. A leader that lies can thus
move log time ahead, which forgets idle clients early; or stop it, which forgets none. It cannot move it back, nor
beyond LOG_TIME_MS_MAX: `machine/apply.py` passes over such times, on every node alike.

Knows: times. Must not know: clocks, the log.
"""

from typing import Final, NamedTuple

from replicator.model.limits import LOG_TIME_MS_MAX

CORRECTION_MAX: Final = 0.1  # how much slower or faster than elapsed time log time runs to approach the calendar
FIRST_MS_MIN: Final = 1_577_836_800_000  # 2020-01-01: a calendar that shows less was never set
FIRST_MS_MAX: Final = 4_102_444_800_000  # 2100-01-01


class Reading(NamedTuple):
    """It was log time `time_ms` when this node's monotonic clock showed `at_s`."""

    time_ms: float
    at_s: float


def first_reading(*, wall_ms: int, now_s: float) -> Reading:
    """Log time of a group that has none: the calendar, if it can be one."""
    return Reading(float(min(max(wall_ms, FIRST_MS_MIN), FIRST_MS_MAX)), now_s)


def continued(last: Reading, *, wall_ms: int, now_s: float) -> Reading:
    """Log time now: never before `last`, and within CORRECTION_MAX of what has elapsed since."""
    elapsed_ms = (now_s - last.at_s) * 1000
    slowest_ms = last.time_ms + (1.0 - CORRECTION_MAX) * elapsed_ms
    fastest_ms = last.time_ms + (1.0 + CORRECTION_MAX) * elapsed_ms
    return Reading(min(max(float(wall_ms), slowest_ms), fastest_ms, float(LOG_TIME_MS_MAX)), now_s)
