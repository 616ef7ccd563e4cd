"""`compact`."""

from typing import TYPE_CHECKING

import click

from replicator.cli.online import Online, call, online_options
from replicator.cli.output import JsonValue, print_facts, print_json

if TYPE_CHECKING:
    from replicator.client import Client


@click.command
@click.argument("revision", type=click.IntRange(min=1))
@online_options
def compact(revision: int, online: Online) -> None:
    """Forget history before REVISION: scans and watches go back to it, and no further."""

    async def use(client: "Client") -> int:
        return await client.compact(revision, timeout_s=online.timeout_s)

    facts: dict[str, JsonValue] = {"compacted_revision": revision, "revision": call(online, use)}
    if online.wants_json:
        print_json(facts)
    else:
        print_facts(facts)
