"""`python -m chaos`: the harness as a command."""

import click

from chaos.simulation.command import simulate_command


@click.group()
def main() -> None:
    """Try to break a cluster, and judge what it promised."""


main.add_command(simulate_command)

if __name__ == "__main__":
    main(prog_name="python -m chaos")
