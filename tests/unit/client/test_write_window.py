"""Names for batches of writes: sequences without a gap, bounded in number and in span."""

import pytest

from replicator.client.write_window import WRITES_IN_FLIGHT_MAX, WriteWindow
from replicator.model.limits import CLIENT_ID_BYTES, SESSION_RESULTS_MAX


def test_sequences_count_from_one_and_name_the_oldest_write_that_is_still_waited_for() -> None:
    window = WriteWindow(lambda: 7)
    first = window.take(3)
    second = window.take(2)
    assert (first.first_sequence, first.oldest_pending) == (1, 1)
    assert (second.first_sequence, second.oldest_pending) == (4, 1)

    window.release(second)
    third = window.take(1)
    assert (third.first_sequence, third.oldest_pending) == (6, 1)
    window.release(first)
    window.release(third)
    fourth = window.take(1)

    assert (fourth.first_sequence, fourth.oldest_pending) == (7, 7)
    assert len(first.client_id) == CLIENT_ID_BYTES
    assert first.client_id == fourth.client_id != WriteWindow(lambda: 7).take(1).client_id


def test_there_is_room_for_so_many_writes_at_a_time_and_no_more() -> None:
    window = WriteWindow(lambda: 7)
    assert window.room() == WRITES_IN_FLIGHT_MAX
    first = window.take(WRITES_IN_FLIGHT_MAX - 1)
    assert window.room() == 1
    window.take(1)
    assert (window.room(), window.in_flight) == (0, WRITES_IN_FLIGHT_MAX)
    with pytest.raises(AssertionError):
        window.take(1)

    window.release(first)
    assert (window.room(), window.in_flight) == (WRITES_IN_FLIGHT_MAX - 1, 1)


def test_one_slow_batch_holds_the_others_back_before_its_name_could_be_forgotten() -> None:
    window = WriteWindow(lambda: 7)
    slow = window.take(2)
    while room := window.room():
        name = window.take(room)
        window.release(name)
    assert window._next_sequence - slow.first_sequence == SESSION_RESULTS_MAX
    assert window.in_flight == 2

    window.release(slow)
    assert window.take(1).oldest_pending == SESSION_RESULTS_MAX + 1
