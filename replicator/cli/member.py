"""`member`: who belongs to the group; adding, removing, and the right to vote."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, Literal

import click

from replicator.cli.exit_codes import CommandFailed, ExitCode
from replicator.cli.online import Online, call, group_options
from replicator.cli.output import Column, print_facts, print_json, print_table
from replicator.core.quorum import majority
from replicator.model.conditions import Condition
from replicator.model.values import MembershipResult, MemberStatus

if TYPE_CHECKING:
    from replicator.client import Client

_CHANGE_AGAIN: Final = "settings that already match are left unchanged"
_FORCE: Final = click.option(
    "--force", is_flag=True, help="Ask the leader anyway; it decides from its own connections."
)


@click.group
def member() -> None:
    """Show and change who belongs to the group, and who votes."""


@member.command("list")
@group_options
def list_members(online: Online) -> None:
    """Show all members as the leader sees them, or any node if none is known. The leader is marked with *."""

    async def use(client: "Client") -> list[MemberStatus]:
        return await client.members(timeout_s=online.timeout_s)

    members = call(online, use)
    leader = _leader_of(members)
    if online.wants_json:
        print_json({"leader": leader, "members": [asdict(each) for each in members]})
        return
    columns = [Column(title) for title in ("", "node", "region", "role", "api", "peer", "link")]
    print_table([*columns, Column("lag", right=True)], [_row(each) for each in members])
    if not leader:
        click.echo(f"{Condition.NO_LEADER}: links are those of the node that answered")


@member.command("add")
@click.argument("node")
@click.option("--region", required=True, metavar="REGION", help="Where the node is.")
@click.option("--peer", "peer_address", required=True, metavar="HOST:PORT", help="Where the other nodes reach it.")
@click.option("--api", "api_address", required=True, metavar="HOST:PORT", help="Where clients reach it.")
@click.option("--observer", is_flag=True, help="It holds a copy and serves reads, and never votes.")
@group_options
def add(*, node: str, region: str, peer_address: str, api_address: str, observer: bool, online: Online) -> None:
    """Add NODE, or give the member of that name these addresses and this role.

    A new voter is `joining` until it has caught up. `replicator serve --join` does this by itself for the node it runs.
    """

    async def use(client: "Client") -> MembershipResult:
        return await client.set_member(
            node,
            region=region,
            peer_address=peer_address,
            api_address=api_address,
            role="observer" if observer else "voter",
            timeout_s=online.timeout_s,
        )

    _print_change(online, node, call(online, use, retry_hint=_CHANGE_AGAIN))


@member.command("remove")
@click.argument("node")
@_FORCE
@group_options
def remove(node: str, force: bool, online: Online) -> None:
    """Remove NODE. A leader hands leadership over first. Exits with 1 if it is no member.

    Refused, with exit code 1, if the group would be left without a majority of connected voters.
    """

    async def use(client: "Client") -> MembershipResult:
        members = await client.members(timeout_s=online.timeout_s)
        _find(members, node)
        if not force:
            _refuse_unsafe(members, node, "removed")
        return await client.remove_member(node, timeout_s=online.timeout_s)

    _print_change(online, node, call(online, use, retry_hint="if it is removed already, the next one says ABSENT"))


@member.command("promote")
@click.argument("node")
@group_options
def promote(node: str, online: Online) -> None:
    """Let NODE vote. It is `joining` until it has caught up. Exits with 1 if it is no member."""
    _set_role(node, "voter", online, force=True)


@member.command("demote")
@click.argument("node")
@_FORCE
@group_options
def demote(node: str, force: bool, online: Online) -> None:
    """Make NODE an observer: it keeps its copy and serves reads, and no longer votes. Exits with 1 if it is no member.

    Refused, with exit code 1, if the group would be left without a majority of connected voters.
    """
    _set_role(node, "observer", online, force=force)


def shortage(members: Sequence[MemberStatus], node_id: str) -> str | None:
    """Why no majority is left without that member's vote; None if one is, or the member does not vote."""
    voters = [each for each in members if each.role == "voter"]
    staying = [each for each in voters if each.node_id != node_id]
    if len(staying) == len(voters):
        return None
    if not staying:
        return "it is the last voter"
    connected = [each.node_id for each in staying if each.connected]
    needed = majority(len(staying))
    if len(connected) >= needed:
        return None
    return (
        f"of the {len(staying)} voters that stay, {len(connected)} are connected ({', '.join(connected) or 'none'}), "
        f"and a majority is {needed}"
    )


def _set_role(node: str, role: Literal["voter", "observer"], online: Online, *, force: bool) -> None:
    async def use(client: "Client") -> MembershipResult:
        members = await client.members(timeout_s=online.timeout_s)
        found = _find(members, node)
        if not force:
            _refuse_unsafe(members, node, "demoted")
        return await client.set_member(
            node,
            region=found.region,
            peer_address=found.peer_address,
            api_address=found.api_address,
            role=role,
            timeout_s=online.timeout_s,
        )

    _print_change(online, node, call(online, use, retry_hint=_CHANGE_AGAIN))


def _find(members: Sequence[MemberStatus], node_id: str) -> MemberStatus:
    for each in members:
        if each.node_id == node_id:
            return each
    known = ", ".join(each.node_id for each in members)
    raise CommandFailed(ExitCode.REFUSED, "ABSENT", f"{node_id!r} is no member; members are {known}")


def _refuse_unsafe(members: Sequence[MemberStatus], node_id: str, done: str) -> None:
    why = shortage(members, node_id)
    if why is not None:
        raise CommandFailed(ExitCode.REFUSED, "UNSAFE", f"{node_id} is not {done}: {why}; {_remedy(members, node_id)}")


def _remedy(members: Sequence[MemberStatus], node_id: str) -> str:
    """Never what the leader would refuse as well."""
    if any(each.role == "voter" and each.node_id != node_id for each in members):
        return "bring voters back, add some, or remove those that are down first; --force lets the leader decide"
    if any(each.role == "observer" for each in members):
        return "let an observer vote first (`replicator member promote`), or add a voter"
    return "add a voter first"


def _leader_of(members: Sequence[MemberStatus]) -> str:
    return next((each.node_id for each in members if each.leader), "")


def _row(each: MemberStatus) -> tuple[str, ...]:
    return (
        "*" if each.leader else "",
        each.node_id,
        each.region,
        each.role,
        each.api_address,
        each.peer_address,
        ("up" if not each.linked_at else f"up at {each.linked_at}") if each.connected else "down",
        "-" if each.lag_entries is None else str(each.lag_entries),
    )


def _print_change(online: Online, node_id: str, result: MembershipResult) -> None:
    if online.wants_json:
        print_json({"index": result.index, "members": [asdict(each) for each in result.members]})
        return
    role = next((each.role for each in result.members if each.node_id == node_id), "none")
    print_facts({"node": node_id, "role": role, "members": len(result.members), "index": result.index})
