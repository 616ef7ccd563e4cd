"""Who belongs to the group, as values: members, their roles, and the membership that one log entry brought."""

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from replicator.model.ids import LogIndex, NodeId, Region

DIRECTORY_ID_BYTES: Final = 16
GROUP_SECRET_BYTES: Final = 32
VOTERS_MAX: Final = 9
MEMBERS_MAX: Final = 64  # each holds a link to every other


class MemberRole(Enum):
    """VOTER counts in every majority; OBSERVER replicates and serves reads; JOINING is a voter to be, catching up."""

    VOTER = "voter"
    OBSERVER = "observer"
    JOINING = "joining"


@dataclass(frozen=True, slots=True)
class Member:
    """One node as the others reach it.

    directory_id: of the only data directory that may act under this name; empty as long as nobody has heard from it.
    """

    node_id: NodeId
    region: Region
    peer_address: str
    api_address: str
    role: MemberRole = MemberRole.VOTER
    directory_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Membership:
    """All members, in the order of their ids. index: of the log entry that brought it; 0: from the configuration.

    founder: data directory of the leader that brought the group's first membership: tells groups of one name apart that
    were founded twice. Empty before that.
    secret: GROUP_SECRET_BYTES made with the founder, which only members hold; empty before that, and in answers to
    callers.
    Without members: a joining node that has not heard from its group.
    """

    index: LogIndex
    members: tuple[Member, ...]
    founder: bytes = b""
    secret: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        ids = [member.node_id for member in self.members]
        assert ids == sorted(set(ids)), "members are ordered by id, each there once"

    def get(self, node_id: str) -> Member | None:
        """A member by name."""
        return next((member for member in self.members if member.node_id == node_id), None)

    def without_secret(self) -> "Membership":
        """The same without the secret: what may leave the engine as an answer."""
        return replace(self, secret=b"")

    @property
    def voters(self) -> frozenset[NodeId]:
        """Those that count in majorities."""
        return frozenset(member.node_id for member in self.members if member.role is MemberRole.VOTER)

    def with_member(self, member: Member) -> "Membership":
        """The same with `member` added, or in place of the one of that name."""
        others = [other for other in self.members if other.node_id != member.node_id]
        return replace(self, members=tuple(sorted([*others, member], key=lambda each: each.node_id)))

    def with_role(self, node_id: NodeId, role: MemberRole) -> "Membership":
        """The same with another role of one that is a member."""
        member = self.get(node_id)
        assert member is not None, f"{node_id} is no member"
        return self.with_member(replace(member, role=role))

    def without(self, node_id: NodeId) -> "Membership":
        """The same without that member."""
        return replace(self, members=tuple(other for other in self.members if other.node_id != node_id))


@dataclass(frozen=True, slots=True)
class SetMember:
    """A request: add this member, or give the one of that name this role and these addresses."""

    member: Member


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """A request: remove this member."""

    node_id: NodeId


MemberChange = SetMember | RemoveMember
