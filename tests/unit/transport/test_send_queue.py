"""The bounded queue of one link."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from replicator.transport.links.send_queue import AHEAD_BYTES_MAX, FRAME_COST_BYTES, SendQueue


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


async def leaving(queue: SendQueue) -> list[bytes]:
    """All that is in it, as it leaves."""
    left = []
    while queue.queued_frames:
        left.append(await queue.first() or b"")
        queue.written()
    assert queue.queued_bytes == 0
    return left


async def test_rafts_own_frames_overtake_those_of_callers_and_both_keep_their_order() -> None:
    queue = SendQueue(1 << 20)
    for n in range(3):
        queue.add(b"caller %d" % n, for_caller=True)
        queue.add(b"raft %d" % n)
    assert await leaving(queue) == [b"%s %d" % (kind, n) for kind in (b"raft", b"caller") for n in range(3)]


async def test_a_frame_that_is_leaving_is_not_overtaken() -> None:
    queue = SendQueue(1 << 20)
    queue.add(b"caller", for_caller=True)
    assert await queue.first() == b"caller"
    queue.add(b"raft")
    assert await queue.first() == b"caller"
    queue.written()
    assert await queue.first() == b"raft"


async def test_a_callers_frame_waits_for_a_bounded_number_of_bytes_only() -> None:
    queue, size = SendQueue(1 << 30), 64 << 10
    for n in range(2):
        queue.add(b"caller %d" % n, for_caller=True)
    for n in range(20):
        queue.add(b"%08d" % n + bytes(size))
    left = [frame[:8] for frame in await leaving(queue)]
    first, second = left.index(b"caller 0"), left.index(b"caller 1")
    assert 0 < first * size <= AHEAD_BYTES_MAX
    assert 0 < (second - first - 1) * size <= AHEAD_BYTES_MAX
    assert [frame for frame in left if not frame.startswith(b"caller")] == [b"%08d" % n for n in range(20)]


async def test_callers_leave_room_for_raft_and_raft_never_exceeds_the_bound() -> None:
    cost = 100 + FRAME_COST_BYTES
    queue = SendQueue(10 * cost)
    assert sum(queue.add(bytes(100), for_caller=True) for _ in range(100)) == 5
    assert sum(queue.add(bytes(100)) for _ in range(100)) == 5
    assert queue.queued_frames == 10


@given(st.lists(st.sampled_from(["raft", "caller", "write"]), max_size=200), st.integers(200, 2000))
async def test_whatever_comes_each_kind_stays_in_order_and_bounded(steps: list[str], bytes_max: int) -> None:
    queue, taken, left, number = SendQueue(bytes_max), list[bytes](), list[bytes](), 0
    for step in steps:
        if step != "write":
            number += 1
            frame = b"%s %d" % (step.encode(), number)
            if queue.add(frame, for_caller=step == "caller"):
                taken.append(frame)
        elif queue.queued_frames:
            left.append(await queue.first() or b"")
            queue.written()
        assert queue.queued_bytes <= bytes_max
    left += await leaving(queue)
    for kind in (b"raft", b"caller"):
        assert [frame for frame in left if frame.startswith(kind)] == [
            frame for frame in taken if frame.startswith(kind)
        ]
