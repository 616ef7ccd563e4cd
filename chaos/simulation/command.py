"""`python -m chaos simulate`: many seeds on all cores; one line a violation, with the command that replays it."""

import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial

import click

from chaos.simulation.world import Scenario, Verdict, simulate


def _parse_seeds(_context: click.Context, _parameter: click.Parameter, text: str) -> range:
    first, colon, last = text.partition(":")
    try:
        seeds = range(int(first), int(last) if colon else int(first) + 1)
    except ValueError:
        raise click.BadParameter("must be A:B (A included, B not) or one number") from None
    if not seeds:
        raise click.BadParameter(f"{text} holds no seed: A must be less than B")
    return seeds


@click.command("simulate")
@click.option("--seeds", callback=_parse_seeds, default="0:100", show_default=True, help="A:B, B not included.")
@click.option("--nodes", type=click.IntRange(1, 9), default=3, show_default=True)
@click.option("--profile", type=click.Choice(["lan", "wan"]), default="wan", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def simulate_command(seeds: range, nodes: int, profile: str, as_json: bool) -> None:
    """Run the shipped engine and storage in virtual time, under faults, and judge every promise.

    Exits 1 if any seed breaks one.
    """
    started_s = time.monotonic()
    scenario = Scenario(nodes=nodes, profile=profile)
    violations: list[Verdict] = []
    acknowledged = reads = 0
    virtual_s = 0.0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for verdict in pool.map(partial(simulate, scenario=scenario), seeds, chunksize=2):
            acknowledged, reads = acknowledged + verdict.acknowledged, reads + verdict.reads
            virtual_s += verdict.virtual_s
            if verdict.violation:
                violations.append(verdict)
                replay = f"python -m chaos simulate --seeds {verdict.seed} --nodes {nodes} --profile {profile}"
                click.echo(f"seed {verdict.seed}: {verdict.violation}\n  replay: {replay}", err=as_json)
    wall_s = time.monotonic() - started_s
    if as_json:
        summary = {
            "seeds": len(seeds), "violations": [asdict(verdict) for verdict in violations], "virtual_s": virtual_s,
            "acknowledged": acknowledged, "reads": reads, "wall_s": wall_s,
        }  # fmt: skip
        click.echo(json.dumps(summary))
    else:
        click.echo(
            f"{len(seeds)} seeds ({nodes} nodes, {profile}), {len(violations)} with violations; "
            f"{acknowledged} writes acknowledged, {reads} linearizable reads, {virtual_s / 3600:.1f} virtual hours "
            f"in {wall_s:.0f} s"
        )
    raise SystemExit(1 if violations else 0)
