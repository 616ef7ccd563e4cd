"""`status`: one node, or all that the first one knows of."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from replicator.cli.exit_codes import CommandFailed, ExitCode, one_line
from replicator.cli.online import Online, call, online_options
from replicator.cli.output import Column, print_json, print_table
from replicator.model.conditions import Condition
from replicator.model.errors import ReplicatorError
from replicator.model.values import NodeStatus

if TYPE_CHECKING:
    from replicator.client import Client


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A member that did not answer for itself. node_id and region: as another node knows them."""

    node_id: str
    region: str
    endpoint: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Answers:
    """Who answered and who did not, each by node id."""

    nodes: tuple[NodeStatus, ...]
    unreachable: tuple[Unreachable, ...]


@click.command
@click.option("--all", "ask_all", is_flag=True, help="Ask every member, not just the first that answers.")
@click.option("--state-hash", is_flag=True, help="Also hash the whole state; reads every key of each node asked.")
@online_options
def status(ask_all: bool, state_hash: bool, online: Online) -> None:
    """Show nodes, roles, lag and staleness. The leader is marked with *.

    With --all, exits with 3 if a member does not answer.
    """

    async def use(client: "Client") -> Answers:
        first = await client.status(state_hash=state_hash and not ask_all, timeout_s=online.timeout_s)
        if not ask_all:
            return Answers((first,), ())
        return await _ask_members(client, first, state_hash, online.timeout_s)

    answers = call(online, use)
    if online.wants_json:
        _print_json(answers)
    else:
        _print_table(answers, hashes=state_hash)
    if answers.unreachable:
        names = ", ".join(f"{node.node_id} ({node.reason})" for node in answers.unreachable)
        raise CommandFailed(ExitCode.UNAVAILABLE, "UNAVAILABLE", f"{Condition.NO_ANSWER} from {names}")


async def _ask_members(client: "Client", first: NodeStatus, state_hash: bool, timeout_s: float) -> Answers:
    async def ask(endpoint: str) -> NodeStatus | ReplicatorError:
        try:
            return await client.status(endpoint, state_hash=state_hash, timeout_s=timeout_s)
        except ReplicatorError as error:
            return error

    members = sorted(first.members, key=lambda member: member.node_id)
    answers = await asyncio.gather(*(ask(member.api_address) for member in members))
    return Answers(
        nodes=tuple(answer for answer in answers if isinstance(answer, NodeStatus)),
        unreachable=tuple(
            Unreachable(member.node_id, member.region, member.api_address, answer.reason, answer.message)
            for member, answer in zip(members, answers, strict=True)
            if isinstance(answer, ReplicatorError)
        ),
    )


def leader_of(nodes: Sequence[NodeStatus]) -> str:
    """The leader of the newest term that any of the nodes knows; empty if none knows one."""
    named = [node for node in nodes if node.leader_id]
    return max(named, key=lambda node: node.term).leader_id if named else ""


def lag_of(node: NodeStatus, nodes: Sequence[NodeStatus]) -> int | None:
    """Entries that `node` trails its leader by, if the leader is among `nodes`."""
    leader = leader_of(nodes)
    for other in nodes:
        if other.node_id == leader:
            return max(0, other.commit_index - node.applied_index)
    return None


def role_of(node: NodeStatus) -> str:
    """Of a voter, its part in Raft; of any other member, what it is instead of a voter."""
    own = next((member.role for member in node.members if member.node_id == node.node_id), "voter")
    return node.role if own == "voter" else own


def notes_of(node: NodeStatus, nodes: Sequence[NodeStatus]) -> str:
    """Notes for the operator about one node. A removed node seldom knows of its removal; others do."""
    notes = []
    newest = max([node, *nodes], key=lambda other: other.membership_index)
    # By configuration alone a node is a member; one that joins knows no membership until one has reached it.
    if newest.membership_index > 0 and all(member.node_id != node.node_id for member in newest.members):
        notes.append(f"{Condition.NOT_A_MEMBER} (membership of index {newest.membership_index})")
    if node.read_only_reason:
        notes.append(f"{Condition.READ_ONLY}: {node.read_only_reason}")
    if node.snapshot_problem:
        notes.append(node.snapshot_problem)
    if node.no_majority:
        notes.append(f"{Condition.NO_MAJORITY}: {node.no_majority}")
    notes += [
        f"linked {member.node_id} at {member.linked_at} of its own file, the group knows {member.peer_address}"
        for member in node.members
        if member.linked_at
    ]
    if node.state_difference:
        notes.append(f"{Condition.STATE_DIFFERS}: {node.state_difference}")
    return "; ".join(notes)


def timers_of(nodes: Sequence[NodeStatus]) -> list[str]:
    """The timers in force, one line; more, each with its nodes, only if nodes do not agree."""
    named: dict[str, list[str]] = {}
    for node in nodes:
        election = f"{node.election_timeout_min_ms} to {node.election_timeout_max_ms} ms"
        named.setdefault(f"timers: heartbeat {node.heartbeat_ms} ms, election {election}", []).append(node.node_id)
    if len(named) == 1:
        return list(named)
    return [f"{timers} ({', '.join(names)})" for timers, names in named.items()]


def _print_json(answers: Answers) -> None:
    print_json(
        {
            "leader": leader_of(answers.nodes),
            "nodes": [asdict(node) | {"lag_entries": lag_of(node, answers.nodes)} for node in answers.nodes],
            "unreachable": [asdict(node) for node in answers.unreachable],
        }
    )


def _print_table(answers: Answers, *, hashes: bool) -> None:
    left = [Column(title) for title in ("", "node", "region", "role")]
    right = [Column(title, right=True) for title in ("term", "applied/commit", "lag", "staleness", "keys", "size")]
    leader = leader_of(answers.nodes)
    rows = [_row(node, answers.nodes, leader, hashes=hashes) for node in answers.nodes]
    lost_rows = [
        ("", lost.node_id, lost.region, "?", "", "", "", "", "", "", f"{Condition.NO_ANSWER}: {lost.reason}")
        for lost in answers.unreachable
    ]
    columns = [*left, *right, Column("state hash" if hashes else "notes", wraps=True)]
    print_table(columns, [*rows, *lost_rows])
    if not leader:
        click.echo(Condition.NO_LEADER)
    for line in timers_of(answers.nodes):
        click.echo(line)
    for lost in answers.unreachable:
        click.echo(f"replicator: {lost.endpoint}: {one_line(lost.message)}", err=True)


def _row(node: NodeStatus, nodes: Sequence[NodeStatus], leader: str, *, hashes: bool) -> tuple[str, ...]:
    lag = lag_of(node, nodes)
    return (
        "*" if node.node_id == leader else "",
        node.node_id,
        node.region,
        role_of(node),
        str(node.term),
        f"{node.applied_index}/{node.commit_index}",
        "-" if lag is None else str(lag),
        "-" if node.staleness_ms is None else f"{node.staleness_ms:.0f} ms",
        str(node.live_keys),
        _bytes(node.data_bytes),
        f"{node.state_hash} @{node.state_hash_index}" if hashes else notes_of(node, nodes),
    )


def _bytes(count: int) -> str:
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
