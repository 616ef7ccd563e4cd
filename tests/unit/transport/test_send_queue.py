"""The bounded queue of one link."""

import asyncio

from replicator.transport.links.send_queue import FRAME_COST_BYTES, SendQueue


async def test_frames_leave_in_the_order_they_came() -> None:
    queue = SendQueue(1 << 20)
    for n in range(10):
        assert queue.add(b"%d" % n)

    left = []
    for _ in range(10):
        left.append(await queue.first())
        queue.written()

    assert left == [b"%d" % n for n in range(10)]
    assert queue.queued_bytes == 0


async def test_a_full_queue_says_so_and_takes_nothing() -> None:
    queue = SendQueue(2 * (100 + FRAME_COST_BYTES))
    assert queue.add(bytes(100))
    assert queue.add(bytes(100))

    assert not queue.add(b"")
    assert queue.queued_bytes == 200
    assert queue.queued_frames == 2


async def test_a_frame_counts_until_it_is_written() -> None:
    """What gRPC holds back is still ours to bound."""
    queue = SendQueue(100 + FRAME_COST_BYTES)
    assert queue.add(bytes(100))
    assert await queue.first() == bytes(100)

    assert not queue.add(b"x")
    queue.written()
    assert queue.add(b"x")


async def test_an_empty_queue_takes_a_frame_beyond_its_bound() -> None:
    """Such a frame is slow, not impossible."""
    queue = SendQueue(10)
    assert queue.add(bytes(1000))
    assert not queue.add(b"x")


async def test_empty_frames_are_bounded_too() -> None:
    queue = SendQueue(10 * FRAME_COST_BYTES)
    assert sum(queue.add(b"") for _ in range(100)) == 10


async def test_a_closed_queue_is_emptied_and_then_ends() -> None:
    queue = SendQueue(1000)
    queue.add(b"last")
    queue.close()

    assert not queue.add(b"too late")
    assert await queue.first() == b"last"
    queue.written()
    assert await queue.first() is None


async def test_a_waiting_writer_is_woken_by_a_frame_and_by_the_close() -> None:
    queue = SendQueue(1000)
    waiting = asyncio.create_task(queue.first())
    await asyncio.sleep(0)
    queue.add(b"a")
    assert await waiting == b"a"
    queue.written()

    waiting = asyncio.create_task(queue.first())
    await asyncio.sleep(0)
    queue.close()
    assert await waiting is None
