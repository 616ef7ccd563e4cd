"""The rules by which a group of memory_cluster changes its members: those of service.ports.GroupPort."""

from dataclasses import dataclass, replace

from replicator.model.errors import InvalidArgument
from replicator.model.ids import LogIndex, NodeId, Region
from replicator.model.members import (
    MEMBERS_MAX,
    VOTERS_MAX,
    Member,
    MemberChange,
    MemberRole,
    Membership,
    RemoveMember,
    SetMember,
)


@dataclass(frozen=True)
class Successor:
    """What a change makes of a membership. leader_leaves: leadership has to move to another voter first."""

    membership: Membership
    leader_leaves: bool


def successor_of(present: Membership, change: MemberChange, leader: NodeId) -> Successor | None:
    """None if nothing needs to change. Raises InvalidArgument."""
    match change:
        case SetMember(member=wanted):
            found = _with(present, wanted)
        case RemoveMember(node_id=node_id):
            found = present.without(node_id)
    if found == present:
        return None
    if not found.voters:
        raise InvalidArgument("this is the last voter; a group without one can decide nothing")
    if len([m for m in found.members if m.role is not MemberRole.OBSERVER]) > VOTERS_MAX:
        raise InvalidArgument(f"a group has at most {VOTERS_MAX} voters")
    if len(found.members) > MEMBERS_MAX:
        raise InvalidArgument(f"a group has at most {MEMBERS_MAX} members")
    return Successor(found, leader_leaves=leader not in found.voters)


def _with(present: Membership, wanted: Member) -> Membership:
    for other in present.members:
        if other.node_id != wanted.node_id and {other.peer_address, other.api_address} & {
            wanted.peer_address,
            wanted.api_address,
        }:
            raise InvalidArgument(f"{other.node_id} has an address of {wanted.node_id} already")
    known = present.get(wanted.node_id)
    directory_id = known.directory_id if known and not wanted.directory_id else wanted.directory_id
    votes = known is not None and known.role is MemberRole.VOTER and known.directory_id == directory_id
    role = MemberRole.JOINING if wanted.role is MemberRole.VOTER and not votes else wanted.role
    return present.with_member(replace(wanted, role=role, directory_id=directory_id))


def promoted(present: Membership, caught_up: frozenset[NodeId], index: LogIndex) -> Membership | None:
    """One JOINING member that has caught up votes from here on; None if there is none."""
    for member in present.members:
        if member.role is MemberRole.JOINING and member.node_id in caught_up:
            return replace(present.with_member(replace(member, role=MemberRole.VOTER)), index=index)
    return None


def target_of(present: Membership, leader: NodeId, target: NodeId | None, region: Region | None) -> NodeId:
    """Who is to lead. Raises InvalidArgument."""
    voters = [member for member in present.members if member.role is MemberRole.VOTER]
    if target is not None:
        if target not in present.voters:
            raise InvalidArgument(f"{target} is not a voter")
        return target
    fitting = [member.node_id for member in voters if region is None or member.region == region]
    if not fitting:
        raise InvalidArgument(f"no voter is in region {region}")
    if region is not None and leader in fitting:
        return leader
    return next((node_id for node_id in fitting if node_id != leader), leader)
