"""Who belongs to the group: adding, changing and removing a member, and what a node shows of all of them.

What is wrong on its face is refused here; what only the group can know (another change under way, the last voter, an
address of another member) is refused by the leader's engine.
"""

import random
from dataclasses import dataclass

from replicator.model.clock import Clock
from replicator.model.ids import EntryCount, NodeId, Region
from replicator.model.members import (
    DIRECTORY_ID_BYTES,
    Member,
    MemberChange,
    MemberRole,
    Membership,
    RemoveMember,
    SetMember,
)
from replicator.model.status import EngineStatus, PeerProgress
from replicator.model.values import MembershipResult, MemberStatus
from replicator.service.change_retry import in_turn
from replicator.service.ports import EnginePort, GroupPort
from replicator.service.validate import check_address, check_name, refuse


@dataclass(frozen=True, slots=True)
class WantedMember:
    """A member as a caller wants it. directory_id: empty if the caller does not know it; the group keeps its own."""

    node_id: str
    region: str
    peer_address: str
    api_address: str
    role: MemberRole
    directory_id: bytes = b""


class MemberService:
    """Works on any node. Every call is idempotent: a repeated one changes nothing and succeeds."""

    def __init__(
        self, engine: EnginePort, group: GroupPort, node_id: NodeId, *, dice: random.Random, clock: Clock
    ) -> None:
        self._engine = engine
        self._group = group
        self._node_id = node_id
        self._dice, self._clock = dice, clock

    async def set_member(self, wanted: WantedMember, *, timeout_s: float) -> MembershipResult:
        """Adds the member, or gives the one of that name this role and these addresses.

        Returns once the change is committed; a new voter is then still `joining`. Raises InvalidArgument,
        ChangeInProgress, NoLeader, Overloaded, DeadlineExceeded, ShuttingDown: nothing happened. OutcomeUnknown.
        """
        return await self._change(SetMember(_checked(wanted)), timeout_s)

    async def remove_member(self, node_id: str, *, timeout_s: float) -> MembershipResult:
        """Takes a member out; a leader hands leadership over first. Raises as `set_member`."""
        check_name("node_id", node_id)
        return await self._change(RemoveMember(NodeId(node_id)), timeout_s)

    async def _change(self, change: MemberChange, timeout_s: float) -> MembershipResult:
        membership = await in_turn(
            lambda left_s: self._group.change_members(change, timeout_s=left_s),
            timeout_s,
            dice=self._dice,
            clock=self._clock,
        )
        return MembershipResult(membership.index, members_seen(membership, self._engine.status(), self._node_id))


def members_seen(membership: Membership, engine: EngineStatus, node_id: NodeId) -> tuple[MemberStatus, ...]:
    """All members as the node `node_id`, whose engine says this of itself, sees them."""
    progress = {peer.node_id: peer for peer in engine.peers}
    return tuple(
        _seen(member, engine, progress.get(member.node_id), is_self=member.node_id == node_id)
        for member in membership.members
    )


def _seen(member: Member, engine: EngineStatus, progress: PeerProgress | None, *, is_self: bool) -> MemberStatus:
    match_index = progress.match_index if progress else None
    lag_entries = progress.lag_entries if progress else None
    if is_self and engine.role == "leader":
        match_index, lag_entries = engine.last_index, EntryCount(0)
    return MemberStatus(
        node_id=member.node_id,
        region=member.region,
        api_address=member.api_address,
        peer_address=member.peer_address,
        connected=is_self or (progress is not None and progress.connected),
        leader=member.node_id == engine.leader_id,
        match_index=match_index,
        lag_entries=lag_entries,
        role=member.role.value,
    )


def _checked(wanted: WantedMember) -> Member:
    check_name("node_id", wanted.node_id)
    check_name("region", wanted.region)
    check_address("peer_address", wanted.peer_address)
    check_address("api_address", wanted.api_address)
    if wanted.peer_address == wanted.api_address:
        raise refuse("api_address", f"is the peer address, too ({wanted.api_address}); a node has one port for each")
    if wanted.role is MemberRole.JOINING:
        raise refuse("role", "the group sets JOINING, for a voter that has to catch up; ask for VOTER")
    if len(wanted.directory_id) not in (0, DIRECTORY_ID_BYTES):
        raise refuse(
            "directory_id",
            f"has {len(wanted.directory_id)} bytes; it has {DIRECTORY_ID_BYTES}, or none if it is not known",
            limit=DIRECTORY_ID_BYTES,
        )
    return Member(
        node_id=NodeId(wanted.node_id),
        region=Region(wanted.region),
        peer_address=wanted.peer_address,
        api_address=wanted.api_address,
        role=wanted.role,
        directory_id=wanted.directory_id,
    )
