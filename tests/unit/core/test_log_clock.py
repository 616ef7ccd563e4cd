"""Log time counts elapsed time; the calendar bends it by a tenth at most."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.log_clock import CORRECTION_MAX, FIRST_MS_MAX, FIRST_MS_MIN, Reading, continued, first_reading
from replicator.model.limits import LOG_TIME_MS_MAX

NOON_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS
NOON = Reading(NOON_MS, 5.0)


def test_a_new_group_begins_at_its_first_leaders_calendar() -> None:
    assert first_reading(wall_ms=NOON_MS, now_s=5.0) == NOON


def test_a_calendar_that_cannot_be_one_begins_no_group() -> None:
    assert first_reading(wall_ms=-1, now_s=0.0).time_ms == first_reading(wall_ms=0, now_s=0.0).time_ms == FIRST_MS_MIN
    assert first_reading(wall_ms=1 << 80, now_s=0.0).time_ms == FIRST_MS_MAX


def test_it_follows_a_calendar_that_behaves() -> None:
    reading = NOON
    for elapsed_ms in (1, 10, 2000):
        reading = continued(reading, wall_ms=int(reading.time_ms) + elapsed_ms, now_s=reading.at_s + elapsed_ms / 1000)
    assert reading.time_ms == NOON_MS + 2011


def test_a_calendar_behind_slows_it_by_a_tenth_and_never_stops_it() -> None:
    for wall_ms in (NOON_MS + HOUR_MS // 2, NOON_MS - 50 * YEAR_MS, 0, -(1 << 70)):
        assert continued(NOON, wall_ms=wall_ms, now_s=3605.0).time_ms == NOON_MS + 0.9 * HOUR_MS


def test_a_calendar_ahead_makes_it_faster_by_a_tenth() -> None:
    for wall_ms in (NOON_MS + 2 * HOUR_MS, NOON_MS + 50 * YEAR_MS, 1 << 70):
        assert continued(NOON, wall_ms=wall_ms, now_s=3605.0).time_ms == NOON_MS + 1.1 * HOUR_MS


def test_an_hour_away_from_the_calendar_is_made_up_for_within_ten() -> None:
    for off_ms in (-HOUR_MS, HOUR_MS):
        assert continued(NOON, wall_ms=NOON_MS + off_ms + 10 * HOUR_MS, now_s=36_005.0).time_ms == (
            NOON_MS + off_ms + 10 * HOUR_MS
        )


def test_two_readings_at_one_moment_agree() -> None:
    assert continued(NOON, wall_ms=NOON_MS + 50, now_s=5.0) == continued(NOON, wall_ms=NOON_MS + 90, now_s=5.0) == NOON


def test_it_ends_before_its_numbers_do() -> None:
    last = Reading(float(LOG_TIME_MS_MAX), 0.0)
    assert continued(last, wall_ms=1 << 70, now_s=1e6).time_ms == LOG_TIME_MS_MAX


@given(
    start_ms=st.integers(1, FIRST_MS_MAX),
    readings=st.lists(st.tuples(st.integers(-(1 << 65), 1 << 65), st.floats(0, 1e6)), min_size=1, max_size=30),
)
def test_whatever_the_calendar_does_it_runs_at_about_the_rate_of_time(
    start_ms: int, readings: list[tuple[int, float]]
) -> None:
    """Between any two readings, and over all of them."""
    first = last = Reading(float(start_ms), 0.0)
    for wall_ms, elapsed_s in readings:
        reading = continued(last, wall_ms=wall_ms, now_s=last.at_s + elapsed_s)
        for before in (first, last):
            elapsed_ms = (reading.at_s - before.at_s) * 1000
            moved_ms, rounding_ms = reading.time_ms - before.time_ms, 0.05  # of floats of this size, thirty times
            assert (1 - CORRECTION_MAX) * elapsed_ms - rounding_ms <= moved_ms
            assert moved_ms <= (1 + CORRECTION_MAX) * elapsed_ms + rounding_ms
        assert reading.time_ms >= last.time_ms
        last = reading
