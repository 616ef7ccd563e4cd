"""Any interleaving of writes, slow readers, flushes, snapshots and reconnections: each change once, in order.

Watchers move between two replicas, of which one lags. What they saw is judged by the checker that judges live runs.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from chaos.checkers import watched_changes
from chaos.checkers.watched_changes import Watched
from replicator.model.changes import Change, ChangeBatch, StoredChange
from replicator.model.errors import Compacted
from replicator.node.clock import SystemClock
from replicator.service.feed import hub, tail, watch
from replicator.service.feed.hub import Hub, Watcher
from replicator.service.feed.tail import Tail
from replicator.service.feed.wanted import Wanted, WatchOptions
from replicator.service.feed.watch import FeedBatch, Watch, WatchLimits, WatchService
from tests.support.feed_store import FeedLog, FeedReplica, Write, shown

KEYS = (b"a", b"ab", b"b", b"c")
WANTED = (
    Wanted(prefixes=(b"",)),
    Wanted(keys=frozenset({b"a"})),
    Wanted(prefixes=(b"a",), keys=frozenset({b"c", b"ab"})),
    Wanted(ranges=((b"b", b""),)),
)
PATIENCE_S = 60.0

writes = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from([None, b"", b"v", b"x" * 40])),
    min_size=1, max_size=4, unique_by=lambda write: write[0],
).map(lambda pairs: tuple(Write(*pair) for pair in pairs))  # fmt: skip
steps = st.one_of(
    st.tuples(st.just("write"), writes),
    st.tuples(st.just("apply"), st.integers(0, 1)),
    st.tuples(st.just("flush"), st.integers(0, 1)),
    st.tuples(st.just("install"), st.integers(0, 1)),
    st.tuples(st.just("compact"), st.integers(1, 30)),
    st.tuples(st.just("read"), st.integers(0, 2)),
    st.tuples(st.just("move"), st.integers(0, 2)),
    st.tuples(st.just("turn"), st.integers(1, 4)),
)


@dataclass
class Plan:
    """steps: in this order. begins: what each watcher wants, and from which revision (0: now)."""

    steps: list[tuple[str, Any]]
    begins: list[tuple[Wanted, int]]


plans = st.builds(
    Plan,
    st.lists(steps, min_size=1, max_size=40),
    st.lists(st.tuples(st.sampled_from(WANTED), st.integers(0, 6)), min_size=1, max_size=3),
)


@dataclass
class Reader:
    """One watcher that moves: reads a batch when it is let, and joins parts as the client does."""

    services: list[WatchService]
    wanted: Wanted
    watched: Watched
    at: int = 0
    token: str = ""
    parts: list[StoredChange] = field(default_factory=list)
    let: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    gone: bool = False
    task: "asyncio.Task[None] | None" = None

    def begin(self) -> None:
        self.task = asyncio.create_task(self._run())

    async def move(self) -> None:
        """To the other replica, as after a broken connection: parts that came are dropped."""
        assert self.task is not None
        if self.task.done() and self.task.exception():
            return
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.at = 1 - self.at
        self.parts.clear()
        self.begin()

    async def _run(self) -> None:
        first = 0 if self.token else self.watched.first
        options = WatchOptions(self.wanted, first, self.token, progress_ms=100)
        try:
            opened = await self.services[self.at].open(options, "here", timeout_s=PATIENCE_S)
        except Compacted:
            self.gone = True
            return
        try:
            while True:
                await self.let.acquire()
                self._take(await opened.next())
        except Compacted:
            self.gone = True
        finally:
            opened.close()

    def _take(self, batch: FeedBatch) -> None:
        self.parts += batch.changes
        self.token = batch.token or self.token
        if not batch.is_part:
            changes, self.parts = tuple(map(shown, self.parts)), []
            self.watched.batches.append(ChangeBatch(changes, batch.revision, batch.token, batch.caught_up))


class Cluster:
    """Two replicas of one log, and the readers."""

    def __init__(self, plan: Plan) -> None:
        self.log = FeedLog()
        self.replicas = [FeedReplica(self.log), FeedReplica(self.log)]
        limits = WatchLimits(100, 100)
        services = [WatchService(replica, replica, limits, SystemClock()) for replica in self.replicas]
        self.readers = []
        for number, (wanted, first) in enumerate(plan.begins):

            def wants(change: Change, wanted: Wanted = wanted) -> bool:
                return wanted.matches(change.key, change.value is None)

            self.readers.append(Reader(services, wanted, Watched(f"w{number}", first or 1, wants)))

    async def take(self, step: str, what: Any) -> None:
        match step:
            case "write":
                self.log.write(*what)
            case "apply":
                self.replicas[what].apply()
            case "flush":
                self.replicas[what].flush()
            case "install":
                self.replicas[what].install()
            case "compact":
                for replica in self.replicas:
                    replica.compact(what)
            case "read":
                self._reader(what).let.release()
            case "move":
                await self._reader(what).move()
            case "turn":
                for _ in range(what):
                    await asyncio.sleep(0)

    def _reader(self, number: int) -> Reader:
        return self.readers[number % len(self.readers)]

    async def finish(self) -> None:
        """All catches up, and every reader reads all that there is."""
        for replica in self.replicas:
            replica.apply()
        for reader in self.readers:
            for _ in range(1000):
                reader.let.release()
        newest = len(self.log.revisions)
        async with asyncio.timeout(PATIENCE_S):
            while not all(reader.gone or self._promised(reader) >= newest for reader in self.readers):
                for reader in self.readers:
                    if reader.task is not None and reader.task.done():
                        await reader.task
                await asyncio.sleep(0.001)

    @staticmethod
    def _promised(reader: Reader) -> int:
        return max((batch.revision for batch in reader.watched.batches), default=0)


async def violations(plan: Plan) -> list[str]:
    """What the checker says of all readers."""
    cluster = Cluster(plan)
    for reader in cluster.readers:
        reader.begin()
    try:
        for step, what in plan.steps:
            await cluster.take(step, what)
        while len(cluster.log.revisions) < max(reader.watched.first for reader in cluster.readers):
            cluster.log.write(Write(b"a", b"v"))
        await cluster.finish()
    finally:
        for reader in cluster.readers:
            assert reader.task is not None
            reader.task.cancel()
        await asyncio.gather(*(reader.task for reader in cluster.readers if reader.task), return_exceptions=True)
    truth = cluster.log.truth()
    return [str(found) for reader in cluster.readers for found in watched_changes.check(reader.watched, truth)]


def judged(plan: Plan) -> list[str]:
    """With small bounds, so that a few changes reach them."""
    with (
        mock.patch.object(watch, "BATCH_BYTES", 60),
        mock.patch.object(watch, "EXAMINED_CHANGES_MAX", 3),
        mock.patch.object(tail, "TAIL_CHANGES_MAX", 5),
        mock.patch.object(hub, "ADVANCE_CHANGES_MAX", 2),
    ):
        return asyncio.run(violations(plan))


@settings(
    max_examples=120, phases=(Phase.explicit, Phase.generate), deadline=None, suppress_health_check=list(HealthCheck)
)
@given(plan=plans)
def test_every_change_once_in_order_and_whole(plan: Plan) -> None:
    assert judged(plan) == []


# Planted bugs


def a_resumption_that_skips_one() -> AbstractContextManager[Any]:
    real = WatchService._first

    async def first(self: WatchService, options: WatchOptions, deadline: Any) -> int:
        return await real(self, options, deadline) + bool(options.token)

    return mock.patch.object(WatchService, "_first", first)


def a_resumption_that_repeats_one() -> AbstractContextManager[Any]:
    real = WatchService._first

    async def first(self: WatchService, options: WatchOptions, deadline: Any) -> int:
        return max(1, await real(self, options, deadline) - bool(options.token))

    return mock.patch.object(WatchService, "_first", first)


def a_cursor_that_passes_what_was_not_sent() -> AbstractContextManager[Any]:
    real = Tail.read

    def read(self: Tail, following: tuple[int, int], take: Any, bytes_max: int) -> Any:
        found, _ = real(self, following, take, bytes_max)
        return found, (self.last + 1, 0)

    return mock.patch.object(Tail, "read", read)


def a_snapshot_that_nobody_is_told_of() -> AbstractContextManager[Any]:
    def jump(self: Hub) -> None:
        now = self._reads.applied_position
        self.tail = Tail(now.revision, now.applied_index)

    return mock.patch.object(Hub, "_jump", jump)


def parts_that_do_not_say_so() -> AbstractContextManager[Any]:
    real = Watch._batch

    def batch(self: Watch, read: Any, now_s: float) -> FeedBatch | None:
        made = real(self, read, now_s)
        return made and FeedBatch(made.changes, made.revision, made.token, made.caught_up, is_part=False)

    return mock.patch.object(Watch, "_batch", batch)


def a_wake_that_moves_the_cursor_too_far() -> AbstractContextManager[Any]:
    def wake(watcher: Watcher, revision: int) -> None:
        if watcher.woken is not None and not watcher.woken.done() and watcher.following <= (revision, 0):
            watcher.following = (revision + 1, 0)
            watcher.woken.set_result(None)

    return mock.patch.object(hub, "_wake", wake)


PLANTED: list[tuple[Callable[[], AbstractContextManager[Any]], tuple[str, ...], int]] = [
    (a_resumption_that_skips_one, ("lost",), 6),
    (a_resumption_that_repeats_one, ("duplicated",), 12),
    (a_cursor_that_passes_what_was_not_sent, ("lost",), 2),
    (a_snapshot_that_nobody_is_told_of, ("lost",), 5),
    (parts_that_do_not_say_so, ("causal", "of the"), 3),
    (a_wake_that_moves_the_cursor_too_far, ("lost",), 0),
]


def plan_that_shows(shows_it: Callable[[Plan], bool], seed: int, examples_max: int) -> Plan | None:
    """The first of those that the seed draws."""
    known = settings(
        max_examples=examples_max, deadline=None, database=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    try:
        return find(plans, shows_it, settings=known, random=random.Random(seed))
    except NoSuchExample:
        return None


@pytest.mark.parametrize(("bug", "words", "first"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_bug_is_caught(
    bug: Callable[[], AbstractContextManager[Any]], words: tuple[str, ...], first: int
) -> None:
    """first: a seed that showed it last; a change of the code may move it."""

    def shows_it(plan: Plan) -> bool:
        return any(all(word in found for word in words) for found in judged(plan))

    with bug():
        found = next(filter(None, (plan_that_shows(shows_it, seed, 2000) for seed in range(first, first + 8))), None)
    assert found is not None, "no plan shows the bug"
    assert judged(found) == [], "without the bug, the same plan is fine"
