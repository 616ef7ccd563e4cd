"""Puts and reads under closed loops of callers: ours and every opponent in turn, round by round."""

from collections.abc import AsyncIterator, Mapping
from typing import Final, TypeAlias

from benchmarks.compare.pair import Pair
from benchmarks.compare.rows import Book, Goal, Row
from benchmarks.compare.sides import Reading, Shape, Side
from benchmarks.compare.task import Figure, Task
from benchmarks.keys import key_of
from benchmarks.load import each
from benchmarks.subjects import Subject

Goals: TypeAlias = Mapping[str, Goal | None]  # by opponent
Measured: TypeAlias = Mapping[str, Reading]  # by opponent; ours under the empty name

FILL_CALLERS: Final = 256


def puts(name: str, shape: Shape, goals: Goals, *, unary: bool = False) -> Figure[Pair]:
    """Committed puts a second, with the CPU of every process beside."""
    calls = "unary calls only, " if unary else ""
    label = f"puts/s, {calls}{_callers(shape)}, {_size(shape)}"
    rows = _rows(label, "puts/s", goals)

    async def measure(pair: Pair, task: Task) -> None:
        ours: Side = pair.unary if unary else pair.ours
        async for found in _rounds(pair, ours, shape, rows, task):
            _add_rates(task.book, rows, found)

    question = f"How many puts are committed a second, {calls}{_callers(shape)}, {_size(shape)}?"
    return Figure(name, question, tuple(rows.values()), measure)


def put_latency(name: str, shape: Shape, p50: Goals, p99: Goals) -> Figure[Pair]:
    """How long a put of few callers takes."""
    rows50 = _rows(f"put p50, {_callers(shape)}, {_size(shape)}", "ms", p50)
    rows99 = _rows(f"put p99, {_callers(shape)}, {_size(shape)}", "ms", p99)

    async def measure(pair: Pair, task: Task) -> None:
        async for found in _rounds(pair, pair.ours, shape, rows50, task):
            for opponent, row50 in rows50.items():
                row99 = rows99[opponent]
                if opponent in found:
                    task.book.add(row50, found[""].p50_ms, found[opponent].p50_ms)
                    task.book.add(row99, found[""].p99_ms, found[opponent].p99_ms)
                else:
                    task.book.add_ours(row50, found[""].p50_ms)
                    task.book.add_ours(row99, found[""].p99_ms)
        for opponent, reason in pair.opponents.missing.items():
            task.book.omit(rows99[opponent], reason)

    return Figure(name, f"How long does a put take, {_callers(shape)}?", (*rows50.values(), *rows99.values()), measure)


def reads(name: str, shape: Shape, goals: Goals) -> Figure[Pair]:
    """Answered reads a second. Ours: one SDK client, which reads where it is answered fastest."""
    rows = _rows(f"{shape.op.value} reads/s, {_callers(shape)}", "reads/s", goals)

    async def measure(pair: Pair, task: Task) -> None:
        await fill(pair, shape)
        for row in rows.values():
            if shape.op in pair.opponents.notes:
                task.book.note(row, pair.opponents.notes[shape.op])
        async for found in _rounds(pair, pair.ours, shape, rows, task):
            _add_rates(task.book, rows, found)

    question = f"How many {shape.op.value} reads are answered a second, {_callers(shape)}?"
    return Figure(name, question, tuple(rows.values()), measure)


async def fill(pair: Pair, shape: Shape) -> None:
    """Every key that will be read is there, on both sides."""
    value = bytes(shape.value_bytes)
    for subject in (pair.ours.subject, *pair.opponents.subjects.values()):

        async def put(number: int, subject: Subject = subject) -> None:
            await subject.put(key_of(number), value)

        await each(put, shape.keys, FILL_CALLERS)


async def _rounds(pair: Pair, ours: Side, shape: Shape, rows: Mapping[str, Row], task: Task) -> AsyncIterator[Measured]:
    """Sides take turns within each round, so that a slow minute meets all of them."""
    for opponent, reason in pair.opponents.missing.items():
        if opponent in rows:
            task.book.omit(rows[opponent], reason)
    present = [pair.opponents.sides[name] for name in rows if name in pair.opponents.sides]
    scope = task.scope
    for number in range(scope.rounds):
        found: dict[str, Reading] = {}
        for side in (ours, *present):
            reading = await side.measure(shape, scope.warm_up_s, scope.measure_s)
            found["" if side is ours else side.name] = reading
            task.say(
                f"  round {number + 1} of {scope.rounds}, {side.name}: {reading.per_s:,.0f}/s, "
                f"p50 {reading.p50_ms:.2f} ms, p99 {reading.p99_ms:.2f} ms"
            )
        yield found


def _add_rates(book: Book, rows: Mapping[str, Row], found: Measured) -> None:
    for opponent, row in rows.items():
        theirs = found.get(opponent)
        if theirs is None:
            book.add_ours(row, found[""].per_s)
            continue
        book.add(row, found[""].per_s, theirs.per_s)
        for label, reading in (("ours", found[""]), ("theirs", theirs)):
            book.detail(row, f"{label}: p50, ms", reading.p50_ms)
            book.detail(row, f"{label}: p99, ms", reading.p99_ms)
            for role, cpu_us in reading.cpu_us.items():
                book.detail(row, f"{label}: CPU of {role}, us an operation", cpu_us)


def _rows(label: str, unit: str, goals: Goals) -> dict[str, Row]:
    return {opponent: Row(label, opponent, unit, goal) for opponent, goal in goals.items()}


def _callers(shape: Shape) -> str:
    return f"{shape.callers:,} caller{'s' if shape.callers > 1 else ''}"


def _size(shape: Shape) -> str:
    return "1 KiB" if shape.value_bytes == 1024 else f"{shape.value_bytes} B"
