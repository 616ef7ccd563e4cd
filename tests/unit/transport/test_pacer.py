"""The pace at which snapshot bytes leave."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.transport.snapshots.pacer import BURST_S, Pacer

RATE = 1000


def test_without_a_rate_nothing_waits() -> None:
    pacer = Pacer(None)
    assert [pacer.wait_s(0.0, 1 << 40) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_streams_take_turns_at_the_shared_rate() -> None:
    pacer = Pacer(RATE)
    waits = [pacer.wait_s(10.0, 100) for _ in range(4)]
    assert waits == pytest.approx([0.0, 0.1 - BURST_S, 0.2 - BURST_S, 0.3 - BURST_S])


def test_time_lost_to_a_late_timer_is_made_up_but_no_more_than_the_burst() -> None:
    pacer = Pacer(RATE)
    pacer.wait_s(0.0, 100)
    assert pacer.wait_s(100.0, 100) == 0.0
    assert pacer.wait_s(100.0, 100) == pytest.approx(0.1 - BURST_S)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 200)), min_size=1, max_size=60))
def test_no_stretch_of_time_carries_more_than_the_rate_allows(asks: list[tuple[float, int]]) -> None:
    pacer, now_s, sent = Pacer(RATE), 0.0, list[tuple[float, int]]()
    for pause_s, size_bytes in asks:
        now_s += pause_s
        sent.append((now_s + pacer.wait_s(now_s, size_bytes), size_bytes))
    assert all(math.isfinite(at_s) for at_s, _ in sent)
    for first, (from_s, _) in enumerate(sent):
        total = 0
        for at_s, size_bytes in sent[first:]:
            total += size_bytes
            assert total <= (at_s - from_s + BURST_S) * RATE + size_bytes + 1e-6
