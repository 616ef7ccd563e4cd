"""Timers that suit the measured round trips, change seldom, and never harm while nodes learn of them one by one."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.auto_timing import (
    ELECTION_MS_MAX,
    ELECTION_MS_MIN,
    GROW_AFTER_S,
    SHRINK_AFTER_S,
    AutoTimer,
    TimingMs,
    election_ms_for,
    round_trip_to_cover_s,
    timing_of,
)

LAN, WAN = TimingMs(50, 300, 600), TimingMs(150, 1500, 3000)
EVERY_S = 0.5

elections_ms = st.integers(ELECTION_MS_MIN, ELECTION_MS_MAX)


class Group:
    """A leader that decides twice a second; what it proposes is in force at once."""

    def __init__(self, timing: TimingMs) -> None:
        self.timer, self.timing, self.now_s = AutoTimer(), timing, 0.0
        self.history = [timing]

    def measure(self, *round_trips_s: float) -> None:
        for round_trip_s in round_trips_s:
            self.now_s += EVERY_S
            wanted = self.timer.decide(self.now_s, self.timing, round_trip_s)
            if wanted is not None:
                self.timing = wanted
                self.history.append(wanted)

    def measure_for(self, seconds: float, round_trip_s: float) -> None:
        self.measure(*[round_trip_s] * round(seconds / EVERY_S))


# Which round trip counts --------------------------------------------------------------------------------------------


def test_the_slowest_voter_counts() -> None:
    """After a failure any majority may be the one that is left, and a candidate needs it to answer."""
    assert round_trip_to_cover_s([0.09, 0.22], voters=3) == 0.22


def test_a_voter_far_out_of_line_does_not_slow_everybody() -> None:
    assert round_trip_to_cover_s([0.05, 0.3], voters=3) == pytest.approx(0.15)


def test_but_an_election_with_it_must_still_succeed() -> None:
    """Four of its round trips."""
    assert round_trip_to_cover_s([0.001, 1.0], voters=3) == 0.4


@pytest.mark.parametrize(("answering", "voters"), [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5)])
def test_without_a_majority_that_answers_nothing_can_be_said(answering: int, voters: int) -> None:
    assert round_trip_to_cover_s([0.1] * answering, voters) is None


@given(round_trips_s=st.lists(st.floats(0, 10), min_size=4, max_size=8))
def test_what_is_covered_lies_between_the_majority_and_the_slowest(round_trips_s: list[float]) -> None:
    covered_s = round_trip_to_cover_s(round_trips_s, voters=9)
    assert covered_s is not None
    assert sorted(round_trips_s)[3] <= covered_s <= max(round_trips_s)
    assert covered_s >= 0.4 * max(round_trips_s)


# Which timers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("round_trip_s", "timing"),
    [
        (0.0, LAN),
        (0.03, LAN),
        (0.031, TimingMs(50, 350, 700)),
        (0.15, WAN),
        (0.22, TimingMs(220, 2200, 4400)),
        (0.6, TimingMs(600, 6000, 12000)),
        (50.0, TimingMs(600, 6000, 12000)),
    ],
)
def test_timers_are_ten_round_trips_within_bounds(round_trip_s: float, timing: TimingMs) -> None:
    """The profiles `lan` and `wan` are what 30 and 150 ms would give."""
    assert timing_of(election_ms_for(round_trip_s)) == timing


@given(election_ms=elections_ms)
def test_three_heartbeats_always_fit_into_an_election_timeout(election_ms: int) -> None:
    timing = timing_of(election_ms)

    assert timing.heartbeat_ms > 0
    assert timing.election_timeout_min_ms > 3 * timing.heartbeat_ms
    assert timing.election_timeout_max_ms > timing.election_timeout_min_ms


# When they change ---------------------------------------------------------------------------------------------------


def test_longer_timers_come_within_seconds_and_shorter_ones_after_a_minute() -> None:
    group = Group(WAN)
    group.measure_for(GROW_AFTER_S + EVERY_S, 0.25)
    assert group.timing == TimingMs(250, 2500, 5000)
    group.measure_for(SHRINK_AFTER_S - EVERY_S, 0.15)
    assert group.timing == TimingMs(250, 2500, 5000)
    group.measure_for(10.0, 0.15)

    assert group.timing == WAN


def test_from_wan_a_short_path_comes_to_lan_in_steps() -> None:
    group = Group(WAN)
    group.measure_for(5 * SHRINK_AFTER_S, 0.001)

    assert group.history == [WAN, TimingMs(75, 750, 1500), TimingMs(50, 400, 800), LAN]


def test_one_stall_of_a_disk_changes_nothing() -> None:
    group = Group(LAN)
    group.measure_for(100.0, 0.01)
    group.measure(0.9, 0.7, 0.4, 0.2)
    group.measure_for(100.0, 0.01)

    assert group.history == [LAN]


@given(current_ms=elections_ms, seed=st.integers(0, 1 << 32))
def test_noise_of_a_fifth_changes_nothing(current_ms: int, seed: int) -> None:
    dice, group = random.Random(seed), Group(timing_of(current_ms))
    group.measure(*[current_ms / 10_000 * dice.uniform(0.8, 1.2) for _ in range(300)])

    assert group.history == [timing_of(current_ms)]


@given(seed=st.integers(0, 1 << 32), spread=st.floats(1.0, 20.0))
def test_under_wild_noise_timers_do_not_swing(seed: int, spread: float) -> None:
    """After they have grown, no shorter ones come within a minute: at most one swing a minute, whatever is measured."""
    dice, group, changed_s = random.Random(seed), Group(WAN), list[tuple[float, int]]()
    for _ in range(1200):
        before = len(group.history)
        group.measure(0.05 * spread ** dice.uniform(-1, 1))
        if len(group.history) > before:
            changed_s.append((group.now_s, group.history[-1][1] - group.history[-2][1]))
    for (earlier_s, earlier), (later_s, later) in pairwise(changed_s):
        if earlier > 0 > later:
            assert later_s - earlier_s >= SHRINK_AFTER_S - GROW_AFTER_S


@given(start_ms=elections_ms, legs=st.lists(st.tuples(st.floats(0.5, 200), st.floats(0, 2)), max_size=6))
def test_of_two_timings_in_a_row_each_heartbeat_fits_the_others_election_timeout(
    start_ms: int, legs: list[tuple[float, float]]
) -> None:
    """Nodes apply a change one after the other; nobody may campaign against a leader that only has the other timers."""
    group = Group(timing_of(start_ms))
    for seconds, round_trip_s in legs:
        group.measure_for(seconds, round_trip_s)
    for old, new in pairwise(group.history):
        assert min(old[1], new[1]) > 3 * max(old[0], new[0])
        assert ELECTION_MS_MIN <= new[1] <= ELECTION_MS_MAX
        assert not 0.76 * old[1] < new[1] < 1.25 * old[1] or new[1] >= old[1] / 2


@given(start_ms=elections_ms, round_trip_s=st.floats(0, 2))
def test_an_even_path_settles_close_to_what_suits_it(start_ms: int, round_trip_s: float) -> None:
    """Within a quarter, and then nothing changes any more."""
    group = Group(timing_of(start_ms))
    group.measure_for(8 * SHRINK_AFTER_S, round_trip_s)
    settled = group.timing
    group.measure_for(3 * SHRINK_AFTER_S, round_trip_s)

    assert group.timing == settled
    assert 0.75 * settled[1] <= election_ms_for(round_trip_s) <= 1.25 * settled[1] + 50


def test_what_was_seen_before_it_was_told_to_forget_proves_nothing() -> None:
    group = Group(LAN)
    group.measure_for(10.0, 0.01)
    group.timer.forget()
    group.measure_for(GROW_AFTER_S, 0.5)

    assert group.history == [LAN]
