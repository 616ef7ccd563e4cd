"""Local reads while a steady stream of puts changes what is read."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.compare.pair import ETCD_PYTHON, Pair
from benchmarks.compare.rows import Book, Row, at_most, times
from benchmarks.compare.scope import Scope
from benchmarks.compare.sides import Op, PythonSide, Reading, Shape
from benchmarks.compare.task import Figure, Task
from benchmarks.compare.throughput import fill
from benchmarks.effort import Stopwatch
from benchmarks.keys import key_of
from benchmarks.subjects import Subject

FEW_CALLERS: Final = 16
TICK_S: Final = 0.005
UNDER_WAY_MAX: Final = 4_000  # puts; a store that is slower than the stream is not buried under it
ACHIEVED_MIN: Final = 0.9  # of the asked rate: below it, the reads had it easier than the row says


@dataclass(slots=True)
class Stream:
    """Puts so far."""

    done: int = 0


def reads_beside_puts(scope: Scope) -> Figure[Pair]:
    """Rate and tail of reads under a mixed load; this process calls both systems, so the opponent is etcd (Python).

    With 1,000 callers in a closed loop the tail follows from the rate (5 ms are 200,000 reads/s), so the tail that few
    callers see stands beside it.
    """
    beside = f"{scope.puts_beside_per_s:,} puts/s beside"
    rate = Row(f"local reads/s, {scope.callers:,} callers, {beside}", ETCD_PYTHON, "reads/s", times(8.0))
    tail = Row(f"local reads p99, {scope.callers:,} callers, {beside}", ETCD_PYTHON, "ms", at_most(5.0))
    few = Row(f"local reads p99, {FEW_CALLERS} callers, {beside}", ETCD_PYTHON, "ms")

    async def measure(pair: Pair, task: Task) -> None:
        many_reads = Shape(Op.LOCAL, scope.callers, scope.read_keys)
        few_reads = Shape(Op.LOCAL, FEW_CALLERS, scope.read_keys)
        await fill(pair, many_reads)
        etcd = pair.opponents.sides.get(ETCD_PYTHON)
        for number in range(scope.rounds):
            found = {}
            for side in (pair.ours, etcd):
                if isinstance(side, PythonSide):
                    found[side.name] = [await _measure(side, shape, task) for shape in (many_reads, few_reads)]
            _add(task.book, (rate, tail, few), found[pair.ours.name], found.get(ETCD_PYTHON))
            task.say(f"  round {number + 1} of {scope.rounds}, ours: {found[pair.ours.name][0].reading.per_s:,.0f}/s")
            (ours, _) = found[pair.ours.name]
            if ours.puts_per_s < ACHIEVED_MIN * scope.puts_beside_per_s:
                for row in (rate, tail):
                    task.book.refute(row, f"ours took fewer than {ACHIEVED_MIN:.0%} of the puts beside")
        if etcd is None:
            for row in (rate, tail, few):
                task.book.omit(row, pair.opponents.missing[ETCD_PYTHON])

    return Figure("reads_beside_puts", "How do local reads fare while puts go on?", (rate, tail, few), measure)


@dataclass(frozen=True, slots=True)
class Mixed:
    """The reads, and the puts a second that were committed beside them."""

    reading: Reading
    puts_per_s: float


def _add(book: Book, rows: tuple[Row, Row, Row], ours: Sequence[Mixed], theirs: Sequence[Mixed] | None) -> None:
    """ours, theirs: with many callers, then with few."""

    def values(found: Sequence[Mixed]) -> tuple[float, float, float]:
        many, few = found
        return many.reading.per_s, many.reading.p99_ms, few.reading.p99_ms

    if theirs is None:
        for row, own in zip(rows, values(ours), strict=True):
            book.add_ours(row, own)
        return
    for row, own, other in zip(rows, values(ours), values(theirs), strict=True):
        book.add(row, own, other)
    book.detail(rows[0], "ours: puts/s beside", ours[0].puts_per_s)
    book.detail(rows[0], "theirs: puts/s beside", theirs[0].puts_per_s)


async def _measure(side: PythonSide, shape: Shape, task: Task) -> Mixed:
    scope = task.scope
    watch = Stopwatch()
    async with _puts(side.subject, shape, scope.puts_beside_per_s) as stream:
        reading = await side.measure(shape, scope.warm_up_s, scope.measure_s)
        return Mixed(reading, stream.done / watch.elapsed_s())


@asynccontextmanager
async def _puts(subject: Subject, shape: Shape, per_s: int) -> AsyncIterator[Stream]:
    """An open loop: puts begin at their times, whether or not earlier ones are answered."""
    stream = Stream()
    value = bytes(shape.value_bytes)

    async def put(number: int) -> None:
        await subject.put(key_of(number % shape.keys), value)
        stream.done += 1

    async def begin(group: asyncio.TaskGroup) -> None:
        watch, begun = Stopwatch(), 0
        under_way: set[asyncio.Task[None]] = set()
        while True:
            due = int(watch.elapsed_s() * per_s)
            while begun < due:
                begun += 1
                if len(under_way) < UNDER_WAY_MAX:
                    task = group.create_task(put(begun))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
            await asyncio.sleep(TICK_S)

    async with asyncio.TaskGroup() as group:
        beginning = group.create_task(begin(group))
        try:
            yield stream
        finally:
            beginning.cancel()
