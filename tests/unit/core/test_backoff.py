"""Waits between tries."""

import random

import pytest

from replicator.core.backoff import Backoff


def test_waits_grow_with_failures_and_stay_between_floor_and_ceiling() -> None:
    """The ceiling doubles with each failure up to the maximum; no wait is below the floor."""
    for seed in range(50):
        backoff = Backoff(random.Random(seed), min_s=0.1, max_s=5.0)
        for failure in range(1, 200):
            wait_s = backoff.next_s()
            assert 0.1 <= wait_s <= min(5.0, 0.1 * 2**failure), f"seed {seed}, failure {failure}"


def test_waits_use_the_whole_range_so_that_callers_spread() -> None:
    backoff = Backoff(random.Random(3), min_s=0.1, max_s=5.0)
    waits_s = [backoff.next_s() for _ in range(500)][10:]

    assert min(waits_s) < 0.5
    assert max(waits_s) > 4.5


def test_a_success_makes_the_next_wait_short_again() -> None:
    backoff = Backoff(random.Random(3), min_s=0.1, max_s=5.0)
    for _ in range(20):
        backoff.next_s()

    backoff.reset()

    assert backoff.next_s() <= 0.2


def test_the_same_dice_give_the_same_waits() -> None:
    first, second = (Backoff(random.Random(9), min_s=0.1, max_s=5.0) for _ in range(2))
    assert [first.next_s() for _ in range(20)] == [second.next_s() for _ in range(20)]


@pytest.mark.parametrize(("min_s", "max_s"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_a_range_that_is_none_is_a_bug(min_s: float, max_s: float) -> None:
    with pytest.raises(AssertionError, match="min_s"):
        Backoff(random.Random(1), min_s=min_s, max_s=max_s)
