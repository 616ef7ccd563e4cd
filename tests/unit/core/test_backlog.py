"""Whether a request can be served in time: pure arithmetic, tried on queues of known rates."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.backlog import RETRY_AFTER_S_MAX, RETRY_AFTER_S_MIN, Backlog, BacklogLimits

LIMITS = BacklogLimits(floor=100, wait_s_max=1.0)
TICK_S = 0.01


def served(backlog: Backlog, per_s: float, for_s: float, now_s: float) -> float:
    """So much is served, in equal steps, while as much comes in anew. Returns the time after that."""
    work = max(1, round(per_s * TICK_S))
    for _ in range(round(for_s / TICK_S)):
        now_s += TICK_S
        backlog.begin(work, now_s)
        backlog.end(work, now_s)
    return now_s


def a_busy_backlog(*, work: int, per_s: float) -> tuple[Backlog, float]:
    backlog = Backlog(LIMITS)
    backlog.begin(work, 0.0)
    return backlog, served(backlog, per_s, 5.0, 0.0)


def test_the_floor_is_admitted_while_no_rate_is_known_and_nothing_beyond_it() -> None:
    backlog = Backlog(LIMITS)
    assert backlog.admits(inf, 0.0)
    backlog.begin(99, 0.0)
    assert backlog.admits(inf, 0.0)
    backlog.begin(1, 0.0)
    assert not backlog.admits(inf, 0.0)


def test_the_rate_is_found_and_tells_the_wait() -> None:
    backlog, now_s = a_busy_backlog(work=500, per_s=1000.0)
    assert 900 < backlog.rate_per_s < 1100
    assert 0.4 < backlog.wait_s(now_s) < 0.6


def test_what_would_wait_beyond_its_deadline_or_the_limit_is_refused() -> None:
    backlog, now_s = a_busy_backlog(work=500, per_s=1000.0)
    assert backlog.admits(5.0, now_s)
    assert not backlog.admits(0.6, now_s), "half of the time left is for the wait"
    backlog.begin(700, now_s)
    assert not backlog.admits(60.0, now_s), "the wait has a limit of its own"


def test_a_deadline_that_is_over_is_refused_by_an_idle_queue_as_well() -> None:
    assert not Backlog(LIMITS).admits(0.0, 0.0)


def test_what_has_less_time_left_than_the_wait_is_refused_below_the_floor_as_well() -> None:
    """It has waited elsewhere already, as its likes do: to serve it would waste what the next one needs."""
    backlog, now_s = a_busy_backlog(work=500, per_s=1000.0)
    backlog.give_up(450)
    assert backlog.admits(0.1, now_s)
    assert not backlog.admits(0.04, now_s)


def test_a_queue_that_stands_still_is_expected_to_stand_for_as_long_again() -> None:
    backlog, now_s = a_busy_backlog(work=500, per_s=1000.0)
    assert backlog.wait_s(now_s + 3.0) >= 3.0
    assert not backlog.admits(60.0, now_s + 3.0)


def test_a_rate_that_falls_is_noticed_and_one_that_rises_too() -> None:
    backlog, now_s = a_busy_backlog(work=500, per_s=1000.0)
    now_s = served(backlog, 100.0, 5.0, now_s)
    assert backlog.rate_per_s < 200
    served(backlog, 3000.0, 5.0, now_s)
    assert backlog.rate_per_s > 2000


def test_a_quiet_time_does_not_lower_the_rate() -> None:
    """One caller at a time says what was asked for, not what could be done."""
    backlog, now_s = a_busy_backlog(work=500, per_s=1000.0)
    known = backlog.rate_per_s
    backlog.give_up(500)
    for _ in range(100):
        now_s += 1.0
        backlog.begin(1, now_s)
        backlog.end(1, now_s + 0.2)
        now_s += 0.2
    assert backlog.rate_per_s == known


def test_what_is_given_up_counts_neither_as_work_nor_as_served() -> None:
    backlog = Backlog(LIMITS)
    backlog.begin(1000, 0.0)
    backlog.give_up(1000)
    assert (backlog.work, backlog.rate_per_s) == (0, 0.0)


def test_refused_callers_come_back_no_faster_than_they_can_be_served() -> None:
    backlog, now_s = a_busy_backlog(work=1000, per_s=1000.0)
    returns = [backlog.retry_after_s(10, now_s) for _ in range(300)]
    assert returns == sorted(returns)
    assert returns[0] >= RETRY_AFTER_S_MIN * 0.99
    within_a_second = sum(10 for at_s in returns if at_s <= 1.0)
    assert within_a_second <= 1200, "about what the queue serves in a second"


@given(
    st.lists(
        st.tuples(st.sampled_from(("begin", "end", "give_up", "refuse")), st.integers(1, 10_000), st.floats(0.0, 5.0)),
        max_size=200,
    )
)
def test_nothing_that_happens_makes_the_estimates_senseless(steps: list[tuple[str, int, float]]) -> None:
    """No negative work, rate or wait; a return between its bounds; and below the floor, all is admitted."""
    backlog, now_s, held = Backlog(LIMITS), 0.0, list[int]()
    for step, work, pause_s in steps:
        now_s += pause_s
        match step:
            case "begin":
                backlog.begin(work, now_s)
                held.append(work)
            case "end" if held:
                backlog.end(held.pop(0), now_s)
            case "give_up" if held:
                backlog.give_up(held.pop())
            case "refuse":
                after_s = backlog.retry_after_s(work, now_s)
                assert RETRY_AFTER_S_MIN * 0.99 <= after_s <= RETRY_AFTER_S_MAX * 1.01
        assert backlog.work == sum(held)
        assert backlog.rate_per_s >= 0.0
        assert backlog.wait_s(now_s) >= 0.0
        assert backlog.admits(inf, now_s) or backlog.work >= LIMITS.floor
