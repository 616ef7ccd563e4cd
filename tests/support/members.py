"""Memberships by names alone, for what needs no addresses."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from replicator.model.ids import LogIndex, NodeId, Region
from replicator.model.members import DIRECTORY_ID_BYTES, GROUP_SECRET_BYTES, Member, MemberRole, Membership

FOUNDER = b"f" * DIRECTORY_ID_BYTES
SECRET = b"s" * GROUP_SECRET_BYTES


def a_member(name: str, role: MemberRole = MemberRole.VOTER, directory_id: bytes = b"") -> Member:
    return Member(NodeId(name), Region("r"), f"{name}.peer:1", f"{name}.api:1", role, directory_id)


def voters(*names: str, index: int = 0, regions: Mapping[NodeId, Region] | None = None) -> Membership:
    """regions: where they are, if it matters."""
    where = regions or {}
    members = [a_member(name) for name in names]
    return a_membership([replace(member, region=where.get(member.node_id, member.region)) for member in members], index)


def a_membership(members: Iterable[Member], index: int = 0) -> Membership:
    return Membership(LogIndex(index), tuple(sorted(members, key=lambda member: member.node_id)))


def founded(membership: Membership) -> Membership:
    """The same, of a group that exists already: its leader takes writes at once."""
    return replace(membership, founder=FOUNDER, secret=SECRET)
