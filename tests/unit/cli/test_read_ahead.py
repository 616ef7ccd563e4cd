"""A thread reads for a task: in order, one item when asked for, with its errors, and without holding up the end."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from replicator.cli.read_ahead import read_in_thread


async def test_items_come_in_order_and_are_read_elsewhere() -> None:
    readers = set()

    def items() -> Iterator[int]:
        for number in range(5):
            readers.add(threading.current_thread())
            yield number

    assert [item async for item in read_in_thread(items())] == [0, 1, 2, 3, 4]
    assert threading.current_thread() not in readers


async def test_nothing_is_read_before_it_is_asked_for() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            taken.append(number)
            yield number

    ahead = read_in_thread(items())
    assert await anext(ahead) == 0
    assert taken == [0]


async def test_an_error_of_reading_reaches_the_one_who_waits() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError(5, "Input/output error")

    ahead = read_in_thread(items())
    assert await anext(ahead) == 1
    with pytest.raises(OSError, match="Input/output"):
        await anext(ahead)


def test_a_reader_that_gets_no_input_does_not_hold_up_the_loop() -> None:
    release = threading.Event()

    def silent() -> Iterator[int]:
        release.wait()
        yield 1

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(read_in_thread(silent())), 0.01)

    asyncio.run(give_up())
    release.set()
