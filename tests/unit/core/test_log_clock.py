"""Log time: it never moves back, and a step of the calendar does not expire everybody's sessions at once."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.log_clock import RATE_MAX, LogClock

NOON_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


def test_it_follows_a_calendar_that_behaves() -> None:
    clock = LogClock(wall_ms=NOON_MS, monotonic_s=5.0)

    assert [clock.read_ms(wall_ms=NOON_MS + t, monotonic_s=5.0 + t / 1000) for t in (0, 10, 2000)] == [
        NOON_MS, NOON_MS + 10, NOON_MS + 2000
    ]  # fmt: skip


def test_a_calendar_set_back_stops_it_until_the_calendar_has_caught_up() -> None:
    clock = LogClock(wall_ms=NOON_MS, monotonic_s=0.0)
    assert clock.read_ms(wall_ms=NOON_MS - HOUR_MS, monotonic_s=1.0) == NOON_MS
    assert clock.read_ms(wall_ms=NOON_MS - 1, monotonic_s=3600.0) == NOON_MS
    assert clock.read_ms(wall_ms=NOON_MS + 5, monotonic_s=3601.0) == NOON_MS + 5


def test_a_calendar_set_forward_is_approached_and_not_jumped_to() -> None:
    clock = LogClock(wall_ms=NOON_MS, monotonic_s=0.0)
    first = clock.read_ms(wall_ms=NOON_MS + HOUR_MS + 1000, monotonic_s=1.0)
    assert first == NOON_MS + 1000 * RATE_MAX
    arrived = clock.read_ms(wall_ms=NOON_MS + 2 * HOUR_MS + 1000, monotonic_s=3601.0)

    assert arrived == NOON_MS + 2 * HOUR_MS + 1000


def test_two_readings_at_one_moment_agree() -> None:
    clock = LogClock(wall_ms=NOON_MS, monotonic_s=0.0)
    assert clock.read_ms(wall_ms=NOON_MS + 50, monotonic_s=0.0) == clock.read_ms(wall_ms=NOON_MS + 90, monotonic_s=0.0)


@given(readings=st.lists(st.tuples(st.integers(-HOUR_MS, HOUR_MS), st.floats(0, 100)), min_size=1, max_size=30))
def test_whatever_the_calendar_does_it_neither_moves_back_nor_runs_ahead(readings: list[tuple[int, float]]) -> None:
    """Nor faster than RATE_MAX times the time that has passed."""
    clock, last_ms, now_s = LogClock(wall_ms=NOON_MS, monotonic_s=0.0), NOON_MS, 0.0
    for jump_ms, elapsed_s in readings:
        now_s += elapsed_s
        read_ms = clock.read_ms(wall_ms=NOON_MS + jump_ms, monotonic_s=now_s)
        assert last_ms <= read_ms <= last_ms + RATE_MAX * elapsed_s * 1000 + 1
        last_ms = read_ms
