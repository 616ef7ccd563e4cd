"""The rate of a path is what it delivered, not what was fed to it, nor what a bunch of answers pretends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.delivery_rate import BUNCH_S_MAX, DeliveryRate, SendMark

ROUND_TRIP_S = 1.0


def test_nothing_is_known_at_first() -> None:
    rate = DeliveryRate()

    assert (rate.bytes_per_s, rate.bunch_bytes) == (0.0, 0.0)


def test_a_lone_append_delivers_its_bytes_in_its_round_trip() -> None:
    rate = DeliveryRate()
    rate.answered(2.0, rate.sending(1.0, 0), 500, round_trip_s=ROUND_TRIP_S)

    assert rate.bytes_per_s == 500.0


def test_a_clock_that_stands_still_teaches_nothing() -> None:
    """And divides by nothing."""
    rate = DeliveryRate()
    rate.answered(1.0, rate.sending(1.0, 0), 500, round_trip_s=ROUND_TRIP_S)

    assert rate.bytes_per_s == 0.0


def test_answers_in_a_bunch_do_not_make_the_path_faster_than_it_was_fed() -> None:
    """Ten appends sent over ten seconds, all answered in one instant."""
    rate = DeliveryRate()
    marks = [rate.sending(float(second), 100 * second) for second in range(10)]
    for mark in marks:
        rate.answered(11.0, mark, 100, round_trip_s=ROUND_TRIP_S)

    assert rate.bytes_per_s <= 1000 / 9


def test_having_little_to_send_does_not_make_a_fast_path_slow() -> None:
    """For many round trips; but a lone sample that is faster counts."""
    rate = DeliveryRate()
    rate.answered(2.0, rate.sending(1.0, 0), 1_000_000, round_trip_s=ROUND_TRIP_S)
    now_s = 2.0
    for _ in range(50):
        mark = rate.sending(now_s, 0)
        rate.nothing_to_send(10)
        now_s += 1.0
        rate.answered(now_s, mark, 10, round_trip_s=ROUND_TRIP_S)
    rate.nothing_to_send(0)
    assert rate.bytes_per_s == 1_000_000
    rate.answered(now_s + 1.0, rate.sending(now_s, 0), 3_000_000, round_trip_s=ROUND_TRIP_S)

    assert rate.bytes_per_s == 3_000_000


def test_a_path_that_became_slower_is_believed_after_ten_round_trips() -> None:
    rate = DeliveryRate()
    rate.answered(2.0, rate.sending(1.0, 0), 1_000_000, round_trip_s=ROUND_TRIP_S)
    rates = []
    for second in range(2, 20):
        rate.answered(second + 1.0, rate.sending(float(second), 0), 1000, round_trip_s=ROUND_TRIP_S)
        rates.append(rate.bytes_per_s)

    assert rates[8] == 1_000_000
    assert rates[-1] == 1000


def test_a_bunch_is_what_comes_beyond_the_rate() -> None:
    """Every second appends of 100 bytes are answered ten at a time: nine tenths of a bunch were not to be expected."""
    rate = DeliveryRate()
    for second in range(30):
        marks = [rate.sending(second / 10 + step / 100, 100 * step) for step in range(10)]
        for mark in marks:
            rate.answered((second + 1) / 10, mark, 100, round_trip_s=ROUND_TRIP_S)

    assert rate.bytes_per_s == pytest.approx(10_000, rel=0.15)
    assert 0.5 * 1000 <= rate.bunch_bytes <= BUNCH_S_MAX * rate.bytes_per_s


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(("send", "answer", "dry")), st.floats(0, 5), st.integers(1, 1 << 20)), max_size=60
    )
)
def test_whatever_happens_the_estimates_are_sane(steps: list[tuple[str, float, int]]) -> None:
    """No sample exceeds all bytes over the least positive time that passed."""
    rate, now_s, flying = DeliveryRate(), 1.0, list[tuple[SendMark, int]]()
    total_bytes, least_s = 0, float("inf")
    for kind, forward_s, payload_bytes in steps:
        now_s += forward_s
        least_s = min(least_s, forward_s) if forward_s > 0 else least_s
        in_flight_bytes = sum(size for _mark, size in flying)
        if kind == "send":
            flying.append((rate.sending(now_s, in_flight_bytes), payload_bytes))
        elif kind == "dry":
            rate.nothing_to_send(in_flight_bytes)
        elif flying:
            mark, size = flying.pop(0)
            total_bytes += size
            rate.answered(now_s, mark, size, round_trip_s=ROUND_TRIP_S)
        assert 0.0 <= rate.bytes_per_s <= 1.001 * total_bytes / least_s
        assert 0.0 <= rate.bunch_bytes <= BUNCH_S_MAX * rate.bytes_per_s + 1e-6
