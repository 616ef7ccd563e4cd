"""`dev`: a local cluster, one OS process a node, until Ctrl-C."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from replicator.cli.exit_codes import ExitCode
from replicator.cli.output import print_json

if TYPE_CHECKING:
    from replicator.dev import LocalCluster, NodePlan

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed


@click.command
@click.option("--nodes", type=int, metavar="N", help="How many; default: one a region.")
@click.option("--regions", default="eu,us,ap", show_default=True, metavar="A,B,...", help="Nodes take turns over them.")
@click.option(
    "--data",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Configuration, logs and data of all nodes; an existing cluster continues.",
)
@click.option(
    "--profile", type=click.Choice(["lan", "wan", "auto"]), default="lan", show_default=True, help="Raft timers."
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON once all nodes serve.")
def dev(nodes: int | None, regions: str, directory: Path, profile: str, as_json: bool) -> int:
    """Run a local cluster until Ctrl-C, SIGTERM or the end of its terminal.

    A node that dies is not restarted; `replicator serve --config FILE` brings it back.
    """
    from replicator.dev import LocalCluster, plan_cluster

    names = [name.strip() for name in regions.split(",") if name.strip()]
    plan = plan_cluster(directory, names, nodes=nodes, profile=profile)
    return asyncio.run(_run(LocalCluster(plan), as_json=as_json))


async def _run(cluster: "LocalCluster", *, as_json: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(_serve(cluster, as_json=as_json))
    stopped: asyncio.Task[object] = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if serving.done():
        serving.result()  # the cluster did not come up; it never ends otherwise
    click.echo("replicator: stopping all nodes", err=True)
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    return ExitCode.OK


async def _serve(cluster: "LocalCluster", *, as_json: bool) -> None:
    """Until cancelled. Leaves no process behind, and lets the nodes drain if they serve."""
    await cluster.__aenter__()
    try:
        _describe(cluster, as_json=as_json)
        async for process in cluster.deaths():
            click.echo(
                f"replicator: node {process.plan.id} (pid {process.pid}) ended with code {process.exit_code}; it is "
                f"not restarted. Its log: {process.plan.log_file}. {await _remedy(cluster, process.plan)}",
                err=True,
            )
    finally:
        await asyncio.shield(cluster.stop())


async def _remedy(cluster: "LocalCluster", plan: "NodePlan") -> str:
    removal = await cluster.removal_index(plan.id)
    if removal is None:
        return f"To restart it: replicator serve --config {plan.config_file}"
    return (
        f"It is no longer a member (membership of index {removal}), so do not restart it; to add it "
        f"again, move {plan.data_dir} away first: replicator serve --config {plan.config_file} --join"
    )


def _describe(cluster: "LocalCluster", *, as_json: bool) -> None:
    facts = cluster.describe()
    if as_json:
        print_json(facts)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("", "node", "region", "endpoint", "admin"):
        table.add_column(title, no_wrap=True)
    table.add_column("pid", justify="right", no_wrap=True)
    for node in facts["nodes"]:
        marker = "*" if node["id"] == facts["leader"] else ""
        table.add_row(marker, node["id"], node["region"], node["endpoint"], node["admin"], str(node["pid"]))
    console.print(table)
    endpoints = ",".join(node["endpoint"] for node in facts["nodes"])
    click.echo(f"export REPLICATOR_ENDPOINTS={endpoints}")
    click.echo("replicator put hello world && replicator get hello && replicator status --all")
    click.echo(f"Data, logs and configurations: {facts['nodes'][0]['config']} and beside. Ctrl-C stops all nodes.")
