"""What a figure is given, and how figures share the clusters that they measure."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from benchmarks.compare.rows import Book, Row
from benchmarks.compare.scope import Scope
from benchmarks.effort import Say

Clusters = TypeVar("Clusters")


@dataclass(frozen=True, slots=True)
class Task:
    """One run: how much to do, where results go, how progress is shown."""

    scope: Scope
    book: Book
    say: Say


@dataclass(frozen=True, slots=True)
class Figure(Generic[Clusters]):
    """One question. name: of `--only`. rows: all that `measure` may add to.

    measure: raises whatever went wrong; its rows are then shown as failed.
    """

    name: str
    question: str
    rows: tuple[Row, ...]
    measure: Callable[[Clusters, Task], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Stage(Generic[Clusters]):
    """Clusters, and the figures measured on them one after the other."""

    open: Callable[[Task], AbstractAsyncContextManager[Clusters]]
    figures: tuple[Figure[Clusters], ...]


@asynccontextmanager
async def own_clusters(_task: Task) -> AsyncIterator[None]:
    """For figures that start what they measure themselves."""
    yield None


async def run_stage(stage: Stage[Any], task: Task) -> None:
    """Measures every figure of the stage. One that fails is recorded; the others go on, on fresh clusters."""
    waiting = list(stage.figures)
    while waiting:
        figure = waiting[0]
        try:
            async with stage.open(task) as clusters:
                while waiting:
                    figure = waiting.pop(0)
                    task.say(f"{figure.name}: {figure.question}")
                    await figure.measure(clusters, task)
        except Exception as error:  # the other figures are worth having
            if figure in waiting:  # the clusters did not start, so nothing of this stage can be measured
                _record(task, error, waiting)
                return
            _record(task, error, [figure])


def _record(task: Task, error: Exception, figures: list[Figure[Any]]) -> None:
    reason = _said_by(error)
    for figure in figures:
        task.say(f"{figure.name}: FAILED: {reason}")
        task.book.fail(figure.rows, reason)


def _said_by(error: BaseException) -> str:
    """In one line; a group is as good as its first member, since callers fail together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    first_line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first_line}"[:300]
