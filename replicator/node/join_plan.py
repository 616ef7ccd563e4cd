"""What a node that starts has to ask of its group, if anything. Pure: what it knows and was told in, a plan out.

A node's own row in its file is what it says of itself; who else belongs to the group is the group's to say.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from replicator.config.schema import NodeConfig
from replicator.model.errors import ConfigError
from replicator.model.ids import LogIndex, NodeId, Region, is_valid_name
from replicator.model.members import Member, MemberRole, Membership
from replicator.model.values import MembershipResult


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """What `serve --join` was told. replace: the member to remove once this node has taken its place."""

    observer: bool = False
    replace: NodeId | None = None


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """ask: to be set in the group, None if there is nothing to ask. watch: then follow the way to being a full member.

    replace: to be removed at the end. notes: what the operator should know, one line each.
    """

    ask: Member | None = None
    watch: bool = False
    replace: NodeId | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to do but to log the notes."""
        return self.ask is None and not self.watch


def check_join(config: NodeConfig, options: JoinOptions) -> None:
    """Raises ConfigError if the file or the flags cannot mean what they say."""
    if len(config.cluster.members) < 2:
        raise ConfigError("cluster.members", "lists this node only; --join needs at least one present member to ask")
    if options.replace is None:
        return
    if not is_valid_name(options.replace):
        raise ConfigError("--replace", f"{options.replace!r} is not a node id")
    if options.replace == config.node.id:
        raise ConfigError(
            "--replace", f"{options.replace!r} is this node itself; --join alone brings back a node that lost its disk"
        )


def initial_membership(config: NodeConfig, *, joining: bool) -> Membership:
    """What a store without a membership begins with: the file's, or none at all if the node joins a group.

    Without a membership a node is no candidate and no voter, whatever its file says of it.
    """
    if joining:
        return Membership(LogIndex(0), ())
    members = (
        Member(NodeId(row.id), Region(row.region), row.peer, row.api)
        for row in sorted(config.cluster.members, key=lambda row: row.id)
    )
    return Membership(LogIndex(0), tuple(members))


def own_row(config: NodeConfig, directory_id: bytes) -> Member:
    """How the node's own file describes it."""
    me = config.me
    return Member(NodeId(me.id), Region(me.region), me.peer, me.api, directory_id=directory_id)


def plan_join(me: Member, known: Membership, options: JoinOptions | None) -> JoinPlan:
    """me: the own row. known: the membership in the store. options: None without `--join`."""
    if not known.members:  # its directory began by joining, and the group has not been heard from
        role = MemberRole.OBSERVER if options is not None and options.observer else MemberRole.VOTER
        return JoinPlan(replace(me, role=role), watch=True, replace=options.replace if options else None)
    mine = known.get(me.node_id)
    if mine is None:
        # Asking again would undo what an operator did, at every restart of a unit that has the flag in it.
        note = (
            f"the newest membership that this node has applied, of index {known.index}, does not name {me.node_id}. "
            "Either the group has removed it: then `replicator member add` takes it back, an empty data directory with "
            "--join joins anew, else stop this node. Or it was stopped while it joined: then it goes on by itself"
        )
        return JoinPlan(watch=options is not None, notes=(note,))
    if mine.directory_id not in (b"", me.directory_id):
        note = f"the group knows another data directory under the name {me.node_id}; this one may not act under it"
        return JoinPlan(notes=(note,))
    if known.index == 0 and options is not None:
        note = (
            "--join has no effect: this data directory was started without it, and has taken part in founding a group "
            "since. To join another one, stop this node, move what is in its data directory away, and start it again"
        )
        return JoinPlan(notes=(note,))
    ask = _announcement(me, mine, known.index)
    if mine.role is MemberRole.JOINING:
        return JoinPlan(ask, watch=True, replace=options.replace if options else None)
    return JoinPlan(ask, notes=left_over(known, options))


def difference(config: NodeConfig, known: Membership) -> str | None:
    """How the file's other rows differ from the membership in the store; None if they do not, or the file counts."""
    if known.index == 0:
        return None
    listed = {row.id: (row.region, row.peer, row.api) for row in config.cluster.members if row.id != config.node.id}
    members = {
        member.node_id: (member.region, member.peer_address, member.api_address)
        for member in known.members
        if member.node_id != config.node.id
    }
    if listed == members:
        return None
    return (
        f"cluster.members lists {_names(listed)} beside this node, the group has {_names(members)}"
        f"{_moved(listed, members)} (membership of index {known.index}); the file only counts for a new cluster, and "
        "as the contacts of a node that joins; its peer addresses are tried where those of the group fail"
    )


def _moved(listed: Mapping[str, tuple[str, str, str]], members: Mapping[NodeId, tuple[str, str, str]]) -> str:
    """Those of whom both know another peer address."""
    others = [
        f"{node_id} at {place[1]}, not at {listed[node_id][1]}"
        for node_id, place in members.items()
        if node_id in listed and listed[node_id][1] != place[1]
    ]
    return f", {', '.join(others)}" if others else ""


def _announcement(me: Member, mine: Member, index: LogIndex) -> Member | None:
    """The own row, if the group knows another one. As long as the files are the membership, there is none to tell."""
    row, known = (_place_of(member) for member in (me, mine))
    if index == 0 or row == known:
        return None
    role = MemberRole.OBSERVER if mine.role is MemberRole.OBSERVER else MemberRole.VOTER
    # Only a directory that the group knows is named: a new one would have to catch up again before it votes.
    return replace(me, role=role, directory_id=mine.directory_id)


def _place_of(member: Member) -> tuple[str, str, str]:
    return member.region, member.peer_address, member.api_address


def left_over(known: Membership, options: JoinOptions | None) -> tuple[str, ...]:
    """A full member replaces nobody any more: a node that came back under the old name would be removed again."""
    if options is None or options.replace is None or known.get(options.replace) is None:
        return ()
    return (
        f"{options.replace} is still a member, although this node has its place already; if it is to go: "
        f"`replicator member remove {options.replace}`",
    )


def _names(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids)) or "nobody"


def membership_told(result: MembershipResult) -> Membership:
    """What the group has answered, as far as it says where its members are: no roles, no data directories."""
    members = [
        Member(NodeId(told.node_id), Region(told.region), told.peer_address, told.api_address)
        for told in result.members
    ]
    return Membership(LogIndex(result.index), tuple(sorted(members, key=lambda member: member.node_id)))


def contacts(config: NodeConfig, known: Membership) -> tuple[str, ...]:
    """API addresses to ask at, those of the group first; its own if there is nobody else."""
    others = [member.api_address for member in known.members if member.node_id != config.node.id]
    others += [row.api for row in config.cluster.members if row.id != config.node.id]
    return tuple(dict.fromkeys(others)) or (config.me.api,)
