"""Names for writes: unique, bounded in number and in span, handed on fairly."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from replicator.client.write_window import WRITES_IN_FLIGHT_MAX, WriteWindow
from replicator.model.deadline import Deadline
from replicator.model.errors import DeadlineExceeded
from replicator.model.limits import CLIENT_ID_BYTES, SESSION_RESULTS_MAX
from replicator.v1 import kv_pb2


def later() -> Deadline:
    return Deadline.after(30.0)


async def test_sequences_count_from_one_and_name_the_oldest_write_that_is_still_waited_for() -> None:
    window = WriteWindow()
    async with window.write_id(later()) as first:
        async with window.write_id(later()) as second:
            assert (first.sequence, first.oldest_pending) == (1, 1)
            assert (second.sequence, second.oldest_pending) == (2, 1)
        async with window.write_id(later()) as third:
            assert (third.sequence, third.oldest_pending) == (3, 1)
    async with window.write_id(later()) as fourth:
        assert (fourth.sequence, fourth.oldest_pending) == (4, 4)
    assert len(first.client_id) == CLIENT_ID_BYTES
    assert first.client_id == fourth.client_id != WriteWindow()._client_id


async def test_a_write_beyond_the_bound_waits_for_a_place_and_gets_it_in_order() -> None:
    window = WriteWindow()
    order: list[str] = []

    async def write(name: str) -> None:
        async with window.write_id(later()):
            order.append(name)

    async with AsyncExitStack() as held:
        for _ in range(WRITES_IN_FLIGHT_MAX):
            await held.enter_async_context(window.write_id(later()))
        waiting = [asyncio.create_task(write(name)) for name in ("first", "second")]
        await asyncio.sleep(0)
        assert order == []
    await asyncio.gather(*waiting)
    assert order == ["first", "second"]
    assert window.in_flight == 0


async def test_a_write_that_gets_no_place_in_time_never_happened() -> None:
    window = WriteWindow()
    async with AsyncExitStack() as held:
        for _ in range(WRITES_IN_FLIGHT_MAX):
            await held.enter_async_context(window.write_id(later()))
        with pytest.raises(DeadlineExceeded, match="nothing happened"):
            async with window.write_id(Deadline.after(0.01)):
                raise AssertionError("there was no place")
        assert window.in_flight == WRITES_IN_FLIGHT_MAX


async def test_one_slow_write_holds_the_others_back_before_its_name_could_be_forgotten() -> None:
    window = WriteWindow()

    async def one_more(deadline: Deadline) -> kv_pb2.WriteId:
        async with window.write_id(deadline) as name:
            return name

    async with window.write_id(later()) as slow:
        for _ in range(SESSION_RESULTS_MAX - 1):
            name = await one_more(later())
        assert name.sequence - slow.sequence == SESSION_RESULTS_MAX - 1
        with pytest.raises(DeadlineExceeded):
            await one_more(Deadline.after(0.01))
    assert (await one_more(later())).oldest_pending == SESSION_RESULTS_MAX + 1


async def test_a_place_that_was_handed_to_a_cancelled_write_is_handed_on() -> None:
    window = WriteWindow()

    async def hold(entered: asyncio.Event) -> None:
        async with window.write_id(later()):
            entered.set()

    async with AsyncExitStack() as held:
        for _ in range(WRITES_IN_FLIGHT_MAX):
            await held.enter_async_context(window.write_id(later()))
        events = [asyncio.Event(), asyncio.Event()]
        cancelled, other = (asyncio.create_task(hold(event)) for event in events)
        await asyncio.sleep(0)
    cancelled.cancel()  # its place is granted by now, but it has not run since
    await asyncio.gather(cancelled, return_exceptions=True)
    await other
    assert (events[0].is_set(), events[1].is_set()) == (False, True)
    assert window.in_flight == 0
