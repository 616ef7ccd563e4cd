"""`serve`: one node, in this process."""

import os
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
def serve(config_file: Path) -> int:
    """Run one node until SIGTERM or Ctrl-C; then drain and exit.

    Exit codes: 0 drained, 2 cannot start (one line says why), 70 the node failed.
    """
    from replicator.config.load import load_config

    # gRPC's core prints lines of its own to stderr (a failed TLS handshake, a GOAWAY) that break one-line errors and
    # JSON logs; what matters of them reaches us as statuses. Read when gRPC is imported, hence here.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    config = load_config(config_file)  # before the heavy imports: a mistake in the file is told at once
    from replicator.node.main import run_node

    return run_node(config)
