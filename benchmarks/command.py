"""`python -m benchmarks`: which benchmark, how often, and where the results go. Measures nothing itself."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import click
import uvloop

from benchmarks import (
    apply_rate,
    catch_up_time,
    failover_time,
    link_throughput,
    put_latency,
    read_latency,
    replication_throughput,
    restart_time,
)
from benchmarks.compare.command import compare_command
from benchmarks.effort import SCALE_MIN, Effort, Say
from benchmarks.figures import Result
from benchmarks.report import table, write_json
from benchmarks.stamp import stamp

Run: TypeAlias = Callable[[Effort, Say], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """rounds: what the published figures were measured with."""

    name: str
    run: Run
    question: str
    rounds: int


def _first_line(text: str | None) -> str:
    assert text, "a benchmark says in its first line what it answers"
    return text.splitlines()[0]


BENCHMARKS: Final = (
    Benchmark("put_latency", put_latency.run, _first_line(put_latency.__doc__), 3),
    Benchmark("read_latency", read_latency.run, _first_line(read_latency.__doc__), 3),
    Benchmark("failover_time", failover_time.run, _first_line(failover_time.__doc__), 20),
    Benchmark("restart_time", restart_time.run, _first_line(restart_time.__doc__), 3),
    Benchmark("catch_up_time", catch_up_time.run, _first_line(catch_up_time.__doc__), 3),
    Benchmark("apply_rate", apply_rate.run, _first_line(apply_rate.__doc__), 3),
    Benchmark("link_throughput", link_throughput.run, _first_line(link_throughput.__doc__), 3),
    Benchmark("replication_throughput", replication_throughput.run, _first_line(replication_throughput.__doc__), 3),
)


@click.group(invoke_without_command=True, help="Measures. Each command answers one question; without one, all do.")
@click.pass_context
def benchmarks(context: click.Context) -> None:
    """Timing is reported, never judged: a slow machine fails nothing."""
    if context.invoked_subcommand is None:
        context.invoke(run_all)


def say(line: str) -> None:
    """Progress."""
    click.echo(line, err=True)


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for. rounds: None for the published number."""

    rounds: int | None = None
    scale: float = 1.0
    quiet_wait_s: float = 0.0
    json_file: Path | None = None


def measure(chosen: tuple[Benchmark, ...], request: Request) -> None:
    """Runs them one after the other; what is done is written even if a later one fails."""
    taken = stamp()
    say(f"commit {taken['commit']}, {taken['machine']}")
    results: list[Result] = []
    for benchmark in chosen:
        effort = Effort(request.rounds or benchmark.rounds, request.scale, request.quiet_wait_s)

        async def one(benchmark: Benchmark = benchmark, effort: Effort = effort) -> Result:
            return await benchmark.run(effort, say)

        results.append(uvloop.run(one()))
        click.echo(table(results[-1]) + "\n")
        if request.json_file is not None:
            write_json(request.json_file, taken, results)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write here."),
        click.option(
            "--quiet-wait",
            "quiet_wait_s",
            type=click.FloatRange(min=0.0),
            default=0.0,
            show_default=True,
            help="Seconds to wait, before each sample, for a shared machine to be quiet.",
        ),
        click.option(
            "--scale",
            type=click.FloatRange(min=SCALE_MIN),
            default=1.0,
            show_default=True,
            help="Share of the published time and size; below 1 for a quick look.",
        ),
        click.option("--rounds", type=click.IntRange(min=1), help="Repeats. Default: the published number."),
    ):
        command = option(command)
    return command


@benchmarks.command("all", help="All of them; about 15 minutes.")
@_options
def run_all(**options: Any) -> None:
    measure(BENCHMARKS, Request(**options))


def _add(benchmark: Benchmark) -> None:
    @benchmarks.command(benchmark.name, help=benchmark.question)
    @_options
    def run_one(**options: Any) -> None:
        measure((benchmark,), Request(**options))


for _benchmark in BENCHMARKS:
    _add(_benchmark)
benchmarks.add_command(compare_command)
