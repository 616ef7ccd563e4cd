"""`python -m chaos simulate`: many seeds on all cores; one line a violation, with the command that replays it."""

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

import click

from chaos.simulation.world import Scenario, Verdict, simulate

PROGRESS_EVERY_S = 30.0
NODES_MAX = 9
STOCK_SEEDS = 40  # about one seed in eight breaks stock: with so many, one of them surely does


@dataclass(slots=True)
class Tally:
    """What many seeds have shown. nodes, profiles: over which seeds were dealt. core_s: of all processes."""

    engine: str
    nodes: list[int]
    profiles: list[str]
    seeds: int = 0
    acknowledged: int = 0
    reads: int = 0
    causal_reads: int = 0
    virtual_s: float = 0.0
    core_s: float = 0.0
    wall_s: float = 0.0
    violations: list[dict[str, Any]] = field(default_factory=list)

    def add(self, scenario: Scenario, verdict: Verdict, core_s: float) -> None:
        """One more seed."""
        self.seeds += 1
        self.acknowledged += verdict.acknowledged
        self.reads += verdict.reads
        self.causal_reads += verdict.causal_reads
        self.virtual_s += verdict.virtual_s
        self.core_s += core_s
        if verdict.violation:
            self.violations.append({**asdict(scenario), **asdict(verdict), "replay": replay(scenario, verdict.seed)})

    @property
    def pace(self) -> float:
        """Virtual seconds per second of one core."""
        return self.virtual_s / self.core_s if self.core_s else 0.0

    @property
    def is_too_short_for_stock(self) -> bool:
        """Stock has held, and that says nothing yet."""
        return self.engine == "stock" and not self.violations and self.seeds < STOCK_SEEDS

    def __str__(self) -> str:
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        # Stock is asked for none.
        reads = "" if self.engine == "stock" else f", {self.reads} linearizable and {self.causal_reads} causal reads"
        return (
            f"{seeds}, {len(self.violations)} with violations; {self.virtual_s / 3600:.1f} virtual hours, "
            f"{self.acknowledged} writes acknowledged{reads}; "
            f"{self.wall_s:.0f} s, {self.pace:.0f} virtual seconds per core-second"
        )


def replay(scenario: Scenario, seed: int) -> str:
    """The command that runs this seed again."""
    engine = "" if scenario.engine == "guarded" else f" --engine {scenario.engine}"
    lanes = "" if scenario.lanes == 1 else f" --lanes {scenario.lanes}"
    return (
        f"python -m chaos simulate --seeds {seed} --nodes {scenario.nodes} --profile {scenario.profile}{engine}{lanes}"
    )


def _parse_seeds(_context: click.Context, _parameter: click.Parameter, text: str) -> range:
    first, colon, last = text.partition(":")
    try:
        seeds = range(int(first), int(last) if colon else int(first) + 1)
    except ValueError:
        raise click.BadParameter("must be A:B (A included, B not) or one number") from None
    if seeds.start < 0:
        raise click.BadParameter(f"{text} begins below 0: seeds are numbers from 0 on")
    if not seeds:
        raise click.BadParameter(f"{text} holds no seed: A must be less than B")
    return seeds


def _parse_nodes(_context: click.Context, _parameter: click.Parameter, text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter("must be a number, or several with commas between") from None
    if not all(1 <= count <= NODES_MAX for count in counts):
        raise click.BadParameter(f"must be 1 to {NODES_MAX}")
    _refuse_twice(text, counts)
    return counts


def _parse_profiles(_context: click.Context, _parameter: click.Parameter, text: str) -> list[str]:
    profiles = text.split(",")
    if "auto" in profiles:
        raise click.BadParameter(
            "auto cannot be asked for: whether a group agrees on timers of its own is part of a seed's character; one "
            "seed in five does, with lan as with wan"
        )
    if not set(profiles) <= {"lan", "wan"}:
        raise click.BadParameter("must be lan, wan, or lan,wan")
    _refuse_twice(text, profiles)
    return profiles


def _parse_lanes(_context: click.Context, _parameter: click.Parameter, text: str) -> list[int]:
    if text not in ("1", "2", "1,2"):
        raise click.BadParameter("must be 1, 2, or 1,2")
    return [int(part) for part in text.split(",")]


def _refuse_twice(text: str, parts: Sequence[object]) -> None:
    """Seeds are dealt over the combinations: one that is named twice would get twice as many, and show nothing more."""
    if len(set(parts)) < len(parts):
        raise click.BadParameter(f"{text} names one twice: each counts once; for more lives, take more seeds")


@click.command("simulate")
@click.option("--seeds", callback=_parse_seeds, default="0:100", show_default=True, help="A:B, B not included; or one.")
@click.option("--nodes", callback=_parse_nodes, default="3", show_default=True, help="One number, or several: 3,5.")
@click.option("--profile", "profiles", callback=_parse_profiles, default="wan", show_default=True,
              help="lan, wan, or lan,wan.")  # fmt: skip
@click.option("--engine", type=click.Choice(["guarded", "stock"]), default="guarded", show_default=True,
              help="stock: PySyncObj without the guard, which does not hold.")  # fmt: skip
@click.option("--lanes", callback=_parse_lanes, default="1", show_default=True,
              help="Of a link; 2: callers' frames and Raft's overtake each other, as when it is full.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def simulate_command(
    *, seeds: range, nodes: list[int], profiles: list[str], engine: str, lanes: list[int], as_json: bool
) -> None:
    """Run the shipped engine and storage in virtual time, under faults, and judge every promise.

    Seeds are dealt over the combinations of --nodes, --profile and --lanes. Exits 1 if any seed breaks a promise.
    """
    started_s = said_s = time.monotonic()
    matrix = [Scenario(nodes=n, profile=p, engine=engine, lanes=k) for n, p, k in product(nodes, profiles, lanes)]
    tally = Tally(engine, nodes, profiles)
    for scenario, verdict, core_s in _run([(seed, matrix[seed % len(matrix)]) for seed in seeds]):
        tally.add(scenario, verdict, core_s)
        tally.wall_s = time.monotonic() - started_s
        if verdict.violation:
            line = f"seed {verdict.seed}: {verdict.violation} | replay: {replay(scenario, verdict.seed)}"
            click.echo(line, err=as_json)
        if time.monotonic() - said_s >= PROGRESS_EVERY_S:
            said_s = time.monotonic()
            click.echo(f"... of {len(seeds)}: {tally}", err=True)
    if as_json:
        click.echo(json.dumps({**asdict(tally), "virtual_s_per_core_s": tally.pace}))
    else:
        shape = f"nodes {','.join(map(str, nodes))}; {','.join(profiles)}; {engine}"
        click.echo(f"{shape}: {tally}")
    if tally.is_too_short_for_stock:
        click.echo(f"stock has held so far: it takes about {STOCK_SEEDS} seeds to catch it", err=as_json)
    raise SystemExit(1 if tally.violations else 0)


def _run(jobs: list[tuple[int, Scenario]]) -> Iterator[tuple[Scenario, Verdict, float]]:
    """All of them, on all cores; one that is asked for alone is run here, so that a debugger can follow it."""
    if len(jobs) == 1:
        yield _simulated(jobs[0])
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ProcessPoolExecutor(cores) as pool:
        yield from pool.map(_simulated, jobs, chunksize=max(1, min(16, len(jobs) // 64)))


def _simulated(job: tuple[int, Scenario]) -> tuple[Scenario, Verdict, float]:
    seed, scenario = job
    started_s, before = time.process_time(), logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # stock reports on itself; the verdict says it
    try:
        verdict = simulate(seed, scenario)
    finally:
        logging.disable(before)
    return scenario, verdict, time.process_time() - started_s
