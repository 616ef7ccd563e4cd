"""The smoothed round trip follows the path, and says what hardly any round trip exceeds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.round_trip import RoundTrip


def after(*samples_s: float) -> RoundTrip:
    path = RoundTrip()
    for sample_s in samples_s:
        path.add(sample_s)
    return path


def test_the_first_sample_is_believed_and_its_spread_guessed_wide() -> None:
    """RFC 6298, 2.2."""
    path = after(0.1)

    assert (path.smoothed_s, path.spread_s) == (0.1, 0.05)
    assert path.upper_s == pytest.approx(0.3)


def test_the_second_sample_counts_as_the_rfc_says() -> None:
    """RFC 6298, 2.3: the spread first, with the old mean."""
    path = after(0.1, 0.2)

    assert path.spread_s == pytest.approx(0.75 * 0.05 + 0.25 * 0.1)
    assert path.smoothed_s == pytest.approx(0.875 * 0.1 + 0.125 * 0.2)


@given(round_trip_s=st.floats(0, 10), count=st.integers(16, 40))
def test_an_even_path_is_known_within_sixteen_samples(round_trip_s: float, count: int) -> None:
    assert round_trip_s <= after(*[round_trip_s] * count).upper_s <= 1.03 * round_trip_s + 1e-12


@given(samples_s=st.lists(st.floats(0, 10), min_size=1, max_size=50))
def test_the_mean_lies_between_the_least_and_the_greatest_sample(samples_s: list[float]) -> None:
    path = after(*samples_s)

    assert min(samples_s) - 1e-9 <= path.smoothed_s <= max(samples_s) + 1e-9
    assert path.spread_s >= 0.0
    assert path.samples == len(samples_s)


def test_a_longer_path_is_noticed_at_once_and_learnt_within_some_samples() -> None:
    path = after(*[0.01] * 30, 0.2)
    assert path.upper_s > 0.2
    for _ in range(30):
        path.add(0.2)

    assert path.upper_s == pytest.approx(0.2, rel=0.15)
