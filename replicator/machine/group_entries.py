"""What the group has agreed on about itself: its membership and its timers, as entries carry them.

A change of the group takes effect when it is applied, on every node, as any other entry (that is etcd's rule; the
conditions that make it safe are those of engine/raft/group.py).
"""

from collections.abc import Mapping
from typing import Final

from google.protobuf.message import DecodeError

from replicator.machine.codec import GROUP_CHANGE_PREFIX, is_group_change
from replicator.model.addresses import is_valid_address
from replicator.model.ids import LogIndex, NodeId, Region, is_valid_name
from replicator.model.members import DIRECTORY_ID_BYTES, GROUP_SECRET_BYTES, MEMBERS_MAX, Member, MemberRole, Membership
from replicator.v1 import store_pb2

ELECTION_TIMEOUT_MS_MAX: Final = 60_000  # agreed on by the group; with longer ones it would seem dead

_NUMBER_OF: Final = {
    MemberRole.VOTER: store_pb2.StoredMember.ROLE_VOTER,
    MemberRole.OBSERVER: store_pb2.StoredMember.ROLE_OBSERVER,
    MemberRole.JOINING: store_pb2.StoredMember.ROLE_JOINING,
}
_ROLE_OF: Final[Mapping[int, MemberRole]] = {number: role for role, number in _NUMBER_OF.items()}
assert _NUMBER_OF.keys() == set(MemberRole)


def encode_membership(membership: Membership) -> bytes:
    """The payload of an entry that brings `membership`. Its index is where the entry will be, so it is left out."""
    return _encode(store_pb2.GroupChange(membership=stored_membership(membership)))


def encode_timing(timing: store_pb2.Timing) -> bytes:
    """The payload of an entry that brings `timing`."""
    return _encode(store_pb2.GroupChange(timing=timing))


def decode_group_change(payload: bytes) -> store_pb2.GroupChange | None:
    """The change of a whole payload, first byte included; None if it is none, or not one that may be applied."""
    if not is_group_change(payload):
        return None
    change = store_pb2.GroupChange()
    try:
        change.ParseFromString(payload[1:])
    except DecodeError:
        return None
    match change.WhichOneof("change"):
        case "membership":
            return change if is_sound(change.membership) else None
        case "timing":
            return change if _is_in_order(change.timing) else None
    return None


def stored_membership(membership: Membership) -> store_pb2.Membership:
    """As it is kept and sent."""
    return store_pb2.Membership(
        index=membership.index,
        members=[stored_member(member) for member in membership.members],
        founder=membership.founder,
        secret=membership.secret,
    )


def stored_member(member: Member) -> store_pb2.StoredMember:
    """As it is kept and sent."""
    return store_pb2.StoredMember(
        node_id=member.node_id,
        region=member.region,
        peer_address=member.peer_address,
        api_address=member.api_address,
        role=_NUMBER_OF[member.role],
        directory_id=member.directory_id,
    )


def membership_of(stored: store_pb2.Membership) -> Membership:
    """The value of what was kept, or sent and found sound."""
    members = tuple(member_of(member) for member in stored.members)
    return Membership(LogIndex(stored.index), members, stored.founder, stored.secret)


def member_of(stored: store_pb2.StoredMember) -> Member:
    """The value of one member."""
    return Member(
        node_id=NodeId(stored.node_id),
        region=Region(stored.region),
        peer_address=stored.peer_address,
        api_address=stored.api_address,
        role=_ROLE_OF[stored.role],
        directory_id=stored.directory_id,
    )


def is_sound(membership: store_pb2.Membership) -> bool:
    """Whether `membership_of` has a value for it, in which somebody votes."""
    ids = [member.node_id for member in membership.members]
    return (
        0 < len(ids) <= MEMBERS_MAX
        and len(membership.founder) in (0, DIRECTORY_ID_BYTES)
        and len(membership.secret) in (0, GROUP_SECRET_BYTES)
        and ids == sorted(set(ids))
        and all(is_sound_member(member) for member in membership.members)
        and any(member.role == store_pb2.StoredMember.ROLE_VOTER for member in membership.members)
    )


def is_sound_member(member: store_pb2.StoredMember) -> bool:
    """Whether `member_of` has a value for it."""
    return (
        is_valid_name(member.node_id)
        and is_valid_name(member.region)
        and is_valid_address(member.peer_address)
        and is_valid_address(member.api_address)
        and member.role in _ROLE_OF
        and len(member.directory_id) in (0, DIRECTORY_ID_BYTES)
    )


def _encode(change: store_pb2.GroupChange) -> bytes:
    payload = GROUP_CHANGE_PREFIX + change.SerializeToString()
    assert decode_group_change(payload) is not None, "a change that no node would apply"  # the change holds a secret
    return payload


def _is_in_order(timing: store_pb2.Timing) -> bool:
    least_ms, greatest_ms = timing.election_timeout_min_ms, timing.election_timeout_max_ms
    return 0 < 3 * timing.heartbeat_ms < least_ms < greatest_ms <= ELECTION_TIMEOUT_MS_MAX
