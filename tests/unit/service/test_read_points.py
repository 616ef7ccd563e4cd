"""Linearizable reads share questions, and never one that is older than themselves."""

import asyncio
import random
from collections import deque
from functools import partial

import pytest

from replicator.model.deadline import Deadline
from replicator.model.errors import DeadlineExceeded, NoLeader
from replicator.model.ids import LogIndex
from replicator.node.clock import SystemClock
from replicator.service.read_points import ReadPoints
from tests.support.memory_cluster import FIRST_INDEX, MemoryCluster, MemoryNode

LONG = partial(Deadline.after, 30.0)


class SlowNode(MemoryNode):
    """Takes the point when it is asked, and answers when it is told to: as late as an answer can be."""

    def __init__(self, cluster: MemoryCluster) -> None:
        joined = cluster.add("n1", "eu")
        super().__init__(cluster, joined.node_id, joined.region)
        self.unanswered: deque[asyncio.Future[None]] = deque()

    async def read_index(self, *, timeout_s: float) -> LogIndex:
        point = await super().read_index(timeout_s=timeout_s)
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.unanswered.append(told)
        await told
        return point

    def answer_next(self) -> None:
        self.unanswered.popleft().set_result(None)

    async def has_unanswered(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.unanswered) < count:  # noqa: ASYNC110  # no event tells of a call that began
                await asyncio.sleep(0.001)


async def test_a_read_that_is_alone_asks_at_once() -> None:
    node = MemoryCluster().add("n1", "eu")
    points = ReadPoints(node, SystemClock())
    for times in (1, 2, 3):
        assert await points.next(LONG()) == FIRST_INDEX
        assert node.read_indexes == times


async def test_reads_that_arrive_together_share_one_question() -> None:
    node = MemoryCluster().add("n1", "eu")
    points = ReadPoints(node, SystemClock())
    assert await asyncio.gather(*(points.next(LONG()) for _ in range(100))) == [FIRST_INDEX] * 100
    assert node.read_indexes == 1


async def test_a_read_never_gets_a_point_that_was_asked_for_before_it_arrived() -> None:
    """The write was acknowledged while the first question was under way; the second read must see it."""
    cluster = MemoryCluster()
    node = SlowNode(cluster)
    points = ReadPoints(node, SystemClock())
    early = asyncio.create_task(points.next(LONG()))
    await node.has_unanswered(1)
    written = cluster.commit(b"a write")
    late = [asyncio.create_task(points.next(LONG())) for _ in range(10)]
    await asyncio.sleep(0)

    node.answer_next()
    assert await early == FIRST_INDEX
    await node.has_unanswered(1)
    node.answer_next()
    assert await asyncio.gather(*late) == [written] * 10
    assert node.read_indexes == 2


async def test_a_question_that_takes_long_does_not_hold_up_the_next_one() -> None:
    """Reads of a far region wait for one round trip, not for two."""
    node = SlowNode(MemoryCluster())
    points = ReadPoints(node, SystemClock())
    reads = []
    for count in (1, 2, 3):
        reads.append(asyncio.create_task(points.next(LONG())))
        await node.has_unanswered(count)  # all of them are under way beside each other
    for _ in reads:
        node.answer_next()
    await asyncio.gather(*reads)


async def test_each_read_ends_by_its_own_deadline_and_leaves_the_question_to_the_others() -> None:
    node = SlowNode(MemoryCluster())
    points = ReadPoints(node, SystemClock())
    short = asyncio.create_task(points.next(Deadline.after(0.02)))
    long = asyncio.create_task(points.next(LONG()))
    with pytest.raises(DeadlineExceeded, match="no majority"):
        await short
    assert not long.done()
    node.answer_next()
    assert await long == FIRST_INDEX
    assert node.read_indexes == 1
    with pytest.raises(DeadlineExceeded, match="before anything was done"):
        await points.next(Deadline.after(0.0))


async def test_an_error_reaches_all_who_asked_and_the_next_question_is_a_new_one() -> None:
    node = MemoryCluster().add("n1", "eu")
    points = ReadPoints(node, SystemClock())
    node.cut_off()
    failed = await asyncio.gather(*(points.next(LONG()) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in failed] == [NoLeader] * 3
    node.heal()
    assert await points.next(LONG()) == FIRST_INDEX


@pytest.mark.parametrize("gathering", [False, True])
async def test_reads_that_are_given_up_leave_no_question_and_no_task_behind(gathering: bool) -> None:
    node = SlowNode(MemoryCluster())
    points = ReadPoints(node, SystemClock())
    reads = [asyncio.create_task(points.next(LONG()))]
    await node.has_unanswered(1)
    if gathering:
        reads.append(asyncio.create_task(points.next(LONG())))
        await asyncio.sleep(0)
    for read in reads:
        read.cancel()
    await asyncio.gather(*reads, return_exceptions=True)
    await asyncio.sleep(0)  # a cancelled task needs one step to end
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}

    node.unanswered.clear()
    again = asyncio.create_task(points.next(LONG()))
    await node.has_unanswered(1)
    node.answer_next()
    assert await again == FIRST_INDEX


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_the_interleaving_a_point_covers_every_write_before_its_read(seed: int) -> None:
    dice = random.Random(seed)
    cluster = MemoryCluster()
    node = SlowNode(cluster)
    points = ReadPoints(node, SystemClock())

    async def reader() -> None:
        for _ in range(20):
            before = len(cluster.log)
            if dice.random() < 0.1:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0):
                        await points.next(LONG())
            else:
                assert before <= await points.next(LONG()) <= len(cluster.log)

    readers = [asyncio.create_task(reader()) for _ in range(8)]
    async with asyncio.timeout(60):
        while not all(task.done() for task in readers):
            if dice.random() < 0.5:
                cluster.commit(b"a write")
            while node.unanswered and (node.unanswered[0].done() or dice.random() < 0.5):
                told = node.unanswered.popleft()
                if not told.done():  # those given up are cancelled
                    told.set_result(None)
            await asyncio.sleep(dice.choice((0, 0, 0.0005)))
    await asyncio.gather(*readers)
    assert node.read_indexes < 8 * 20
