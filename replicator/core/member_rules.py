"""The membership that follows from a change request, or why the request is refused. Pure."""

from dataclasses import replace

from replicator.model.errors import InvalidArgument
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


def changed(membership: Membership, change: MemberChange) -> Membership:
    """The membership after the request: the same one if nothing changes. Differs by one member at most.

    A member that is to vote joins first; the leader makes it a voter once it has caught up.
    Raises InvalidArgument.
    """
    match change:
        case SetMember(member):
            wanted = _set(membership, member)
        case RemoveMember(node_id):
            if membership.get(node_id) is None:
                return membership
            wanted = membership.without(node_id)
    if not wanted.voters:
        raise InvalidArgument("the group's last voter can neither be removed nor become an observer")
    return wanted


def pinned(membership: Membership, directories: dict[str, bytes]) -> Membership:
    """The same, with the data directories that were heard of noted for members that had none."""
    members = [
        member if member.directory_id else replace(member, directory_id=directories.get(member.node_id, b""))
        for member in membership.members
    ]
    return replace(membership, members=tuple(members))


def _set(membership: Membership, request: Member) -> Membership:
    present = membership.get(request.node_id)
    _check_addresses(membership, request)
    if present is None:
        if len(membership.members) >= MEMBERS_MAX:
            raise InvalidArgument(f"a group has at most {MEMBERS_MAX} members; remove one first")
        return _with_voters_bounded(
            membership.with_member(replace(request, role=_role(request.role, MemberRole.JOINING)))
        )
    # Another directory, or one that nobody has heard of, stands in place of one that was lost: it catches up before it
    # votes. Until then there is one voter less, as if it had been removed first.
    is_proven = present.role is MemberRole.VOTER and request.directory_id in (b"", present.directory_id)
    as_voter = MemberRole.VOTER if is_proven else MemberRole.JOINING
    wanted = replace(
        request, role=_role(request.role, as_voter), directory_id=request.directory_id or present.directory_id
    )
    return _with_voters_bounded(membership.with_member(wanted))


def _role(asked: MemberRole, as_voter: MemberRole) -> MemberRole:
    return MemberRole.OBSERVER if asked is MemberRole.OBSERVER else as_voter


def _with_voters_bounded(membership: Membership) -> Membership:
    voting = [member for member in membership.members if member.role is not MemberRole.OBSERVER]
    if len(voting) > VOTERS_MAX:
        raise InvalidArgument(
            f"a group has at most {VOTERS_MAX} voters; add it as an observer, or remove a voter first"
        )
    return membership


def _check_addresses(membership: Membership, request: Member) -> None:
    for other in membership.members:
        if other.node_id == request.node_id:
            continue
        for field in ("peer_address", "api_address"):
            if getattr(other, field) == getattr(request, field):
                raise InvalidArgument(
                    f"{field} {getattr(request, field)} is that of {other.node_id}; each needs its own"
                )
