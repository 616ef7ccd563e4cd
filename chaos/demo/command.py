"""`replicator demo`: the demonstration as a command."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from chaos.demo.live import Screen
    from chaos.demo.summary import Report


LIBRARY_LOG: Final = "libraries.log"


class DemoExit(IntEnum):
    """BROKEN also stands for a run that proved nothing."""

    HELD = 0
    BROKEN = 1
    COULD_NOT_RUN = 3
    INTERRUPTED = 130


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; progress goes to stderr.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Draw the same choices as an earlier run.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep data, logs and history in this new or empty folder. They are kept on failure in any case.",
)
def demo(as_json: bool, seed: int | None, keep: Path | None) -> int:
    """Run a three-region cluster through a bad minute, and check every promise.

    A shop writes and reads in all regions over lines as long as real ones; the leader is killed, comes back, and a
    region is cut off and healed. Takes about 80 s, and leaves nothing behind.

    Exit codes: 0 every promise held, 1 one was broken or could not be proven, 3 it could not run.
    """
    if keep is not None and keep.is_dir() and any(keep.iterdir()):
        raise click.UsageError(f"--keep: {keep} is not empty")
    directory = keep if keep is not None else Path(tempfile.mkdtemp(prefix="replicator-demo-"))
    return _perform(directory, secrets.randbits(32) if seed is None else seed, as_json=as_json, keep=keep is not None)


def _perform(directory: Path, seed: int, *, as_json: bool, keep: bool) -> int:
    import uvloop
    from rich.console import Console

    from chaos.demo.live import LiveScreen, PlainScreen
    from chaos.demo.machine_form import as_json as to_json
    from chaos.demo.summary import show
    from replicator.model.errors import ReplicatorError, StartupError

    progress = Console(stderr=as_json)
    is_over = False  # with nothing that anyone would want to look at
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with (
            divert_library_output(directory / LIBRARY_LOG),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            LiveScreen(progress) if progress.is_terminal else PlainScreen(progress) as screen,
        ):
            report = runner.run(_until_stopped(directory, seed, screen))
        held = report.verdict.outcome.value == "held"
        is_over = held and not keep
        report = replace(report, kept=None if is_over else directory)
        if as_json:
            click.echo(json.dumps(to_json(report)))
        else:
            show(report, Console())
        return DemoExit.HELD if held else DemoExit.BROKEN
    except (KeyboardInterrupt, asyncio.CancelledError):
        is_over = not keep
        click.echo("replicator: stopped; all nodes are gone", err=True)
        return DemoExit.INTERRUPTED
    except Exception as error:
        if not isinstance(error, StartupError | ReplicatorError | TimeoutError | OSError):
            traceback.print_exc()  # a bug of the harness: never to be taken for a broken promise
        reason = str(error) or type(error).__name__
        click.echo(f"replicator: the demo could not run (seed {seed}, files in {directory}): {reason}", err=True)
        if as_json:
            failed = {"verdict": "could_not_run", "seed": seed, "reason": reason, "data_kept_in": str(directory)}
            click.echo(json.dumps(failed))
        return DemoExit.COULD_NOT_RUN
    finally:
        if is_over:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def divert_library_output(file: Path) -> Iterator[None]:
    """Sends what C libraries write to descriptor 2 to a file; Python's own stderr stays where it is.

    gRPC reports every peer that we cut off in words of its own, and reads its settings before anyone can change them.
    """
    if (
        sys.__stderr__ is None or sys.stderr is not sys.__stderr__
    ):  # someone else has replaced it already, and takes care
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with file.open("ab") as log:
        os.dup2(log.fileno(), 2)
    with os.fdopen(kept, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace") as stderr:
        sys.stderr = stderr
        try:
            yield
        finally:
            stderr.flush()
            os.dup2(kept, 2)
            sys.stderr = sys.__stderr__


async def _until_stopped(directory: Path, seed: int, screen: "Screen") -> "Report":
    """SIGTERM ends the run as Ctrl-C does: with every process stopped."""
    from chaos.demo.run import run
    from chaos.demo.scenario import Timetable

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(directory, seed, screen, Timetable())
