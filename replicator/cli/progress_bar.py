"""How far a long command has come, on stderr, if that is a terminal and nothing else is written there."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(task: str, unit: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Gives what is to be called with each further number of `unit`. total: None if nobody knows it."""
    if quiet or not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn(f"{{task.completed:,.0f}} {unit}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        row = shown.add_task(task, total=total)
        yield lambda further: shown.advance(row, further)


def _ignore(_further: int) -> None:
    """Nobody looks."""
