"""`leader`: who leads the group, and handing that over."""

from typing import TYPE_CHECKING

import click

from replicator.cli.exit_codes import CommandFailed, ExitCode
from replicator.cli.online import Online, call, group_options
from replicator.cli.output import JsonValue, print_facts, print_json
from replicator.model.values import MemberStatus

if TYPE_CHECKING:
    from replicator.client import Client


@click.group
def leader() -> None:
    """Show who leads the group, and hand leadership over."""


@leader.command("show")
@group_options
def show(online: Online) -> None:
    """Show who leads. Exits with 3 if no node that answers knows."""

    async def use(client: "Client") -> list[MemberStatus]:
        return await client.members(timeout_s=online.timeout_s)

    found = next((each for each in call(online, use) if each.leader), None)
    if found is None:
        raise CommandFailed(ExitCode.UNAVAILABLE, "NO_LEADER", "the node that answered knows of no leader; ask again")
    _print(online, {"leader": found.node_id, "region": found.region, "endpoint": found.api_address})


@leader.command("transfer")
@click.option("--to", "node", metavar="NODE", help="The new leader.")
@click.option("--region", metavar="REGION", help="The region of the new leader.")
@group_options
def transfer(node: str | None, region: str | None, online: Online) -> None:
    """Hand leadership to a node or a region; with neither, to any voter that has caught up. Writes go on."""
    if node and region:
        raise click.UsageError("--to and --region: give one of them, or neither")

    async def use(client: "Client") -> str:
        return await client.transfer_leadership(node, region, timeout_s=online.timeout_s)

    _print(
        online,
        {
            "leader": call(
                online, use, retry_hint="once the leader named there leads, a repeated transfer changes nothing"
            )
        },
    )


def _print(online: Online, facts: dict[str, JsonValue]) -> None:
    if online.wants_json:
        print_json(facts)
    else:
        print_facts(facts)
