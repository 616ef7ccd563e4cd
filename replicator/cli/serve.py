"""`serve`: one node, in this process."""

import os
import signal
import sys
from pathlib import Path

import click


@click.command
@click.option(
    "--config",
    "config_file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The node's TOML file; `replicator dev` writes examples.",
)
@click.option("--join", is_flag=True, help="Join the group of the other nodes in the file; done once, it stays done.")
@click.option("--observer", is_flag=True, help="With --join: hold a copy and serve reads, never vote.")
@click.option("--replace", metavar="NODE", help="With --join: remove that member once this node has taken its place.")
@click.option("--until-stdin-ends", is_flag=True, help="Also drain and exit when standard input ends, as by a pipe.")
def serve(config_file: Path, join: bool, observer: bool, replace: str | None, until_stdin_ends: bool) -> int:
    """Run one node until SIGTERM or Ctrl-C; then drain and exit. SIGHUP reloads certificates and the log level.

    With --join the node becomes a member of a group that exists: the file lists some of its members, and this node.
    Running the same command again continues where it stopped, or does nothing.

    Exit codes: 0 drained, 2 cannot start (one line says why), 70 the node failed.
    """
    if (observer or replace) and not join:
        raise click.UsageError("--observer and --replace belong to --join")
    from replicator.config.load import load_config

    # gRPC's core prints lines of its own to stderr (a failed TLS handshake, a GOAWAY) that break one-line errors and
    # JSON logs; what matters of them reaches us as statuses. Read when gRPC is imported, hence here.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the node takes it: all files are about to be read anyway
    config = load_config(config_file)  # before the heavy imports: a mistake in the file is told at once
    from replicator.model.ids import NodeId
    from replicator.node.join_plan import JoinOptions
    from replicator.node.main import run_node

    wanted = JoinOptions(observer, NodeId(replace) if replace else None) if join else None
    tie_fd = sys.stdin.fileno() if until_stdin_ends else None
    return run_node(config, wanted, reload=lambda: load_config(config_file), tie_fd=tie_fd)
