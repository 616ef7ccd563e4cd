"""Messages to the values that callers get, and the few arguments that need a check before they fit a message."""

from typing import Final

from replicator.model.errors import InvalidArgument
from replicator.model.values import (
    CompareAndSetResult,
    Consistency,
    DeleteResult,
    GetResult,
    KeyValue,
    MembershipResult,
    MemberStatus,
    NodeStatus,
    PutResult,
)
from replicator.v1 import cluster_pb2, kv_pb2

_UINT32_MAX: Final = (1 << 32) - 1
_UINT64_MAX: Final = (1 << 64) - 1

_CONSISTENCY: Final = {
    Consistency.LINEARIZABLE: kv_pb2.CONSISTENCY_LINEARIZABLE,
    Consistency.CAUSAL: kv_pb2.CONSISTENCY_CAUSAL,
    Consistency.BOUNDED: kv_pb2.CONSISTENCY_BOUNDED,
    Consistency.LOCAL: kv_pb2.CONSISTENCY_LOCAL,
}
assert set(_CONSISTENCY) == set(Consistency), "every level needs a number on the wire"

_ROLE: Final = {
    cluster_pb2.ROLE_FOLLOWER: "follower",
    cluster_pb2.ROLE_CANDIDATE: "candidate",
    cluster_pb2.ROLE_LEADER: "leader",
}

# A node of release 0.1 says nothing of roles: all of its members are voters.
_MEMBER_ROLE: Final = {
    cluster_pb2.MEMBER_ROLE_UNSPECIFIED: "voter",
    cluster_pb2.MEMBER_ROLE_VOTER: "voter",
    cluster_pb2.MEMBER_ROLE_OBSERVER: "observer",
    cluster_pb2.MEMBER_ROLE_JOINING: "joining",
}
_GIVEN_ROLE: Final = {
    "voter": cluster_pb2.MEMBER_ROLE_VOTER,
    "observer": cluster_pb2.MEMBER_ROLE_OBSERVER,
}


def read_options(
    consistency: Consistency | None, token: str | None, max_staleness_ms: int | None
) -> kv_pb2.ReadOptions:
    """None: CAUSAL, no token, no bound. Contradictions are the node's to refuse."""
    return kv_pb2.ReadOptions(
        consistency=_CONSISTENCY[consistency or Consistency.CAUSAL],
        token=token or "",
        max_staleness_ms=uint32("max_staleness_ms", max_staleness_ms or 0),
    )


def uint32(field: str, value: int) -> int:
    return _in_range(field, value, _UINT32_MAX)


def uint64(field: str, value: int) -> int:
    return _in_range(field, value, _UINT64_MAX)


def _in_range(field: str, value: int, limit: int) -> int:
    if not 0 <= value <= limit:
        raise InvalidArgument(
            f"{field} is {value}, must be 0 to {limit}", metadata={"field": field, "limit": str(limit)}
        )
    return value


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all keys with this prefix; empty if there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else b""


def key_value(kv: kv_pb2.KeyValue) -> KeyValue:
    return KeyValue(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version)


def put_result(answer: kv_pb2.PutResponse) -> PutResult:
    return PutResult(answer.revision, answer.token)


def delete_result(answer: kv_pb2.DeleteResponse) -> DeleteResult:
    return DeleteResult(answer.deleted, answer.revision, answer.token)


def compare_and_set_result(answer: kv_pb2.CompareAndSetResponse) -> CompareAndSetResult:
    found = answer.HasField("current")
    return CompareAndSetResult(
        succeeded=answer.succeeded,
        revision=answer.revision,
        value=answer.current.value if found else None,
        mod_revision=answer.current.mod_revision if found else 0,
        token=answer.token,
    )


def get_result(key: bytes, answer: kv_pb2.GetResponse) -> GetResult:
    found = answer.HasField("kv")
    return GetResult(
        key=key,
        value=answer.kv.value if found else None,
        mod_revision=answer.kv.mod_revision,
        create_revision=answer.kv.create_revision,
        version=answer.kv.version,
        revision=answer.revision,
        token=answer.token,
        staleness_ms=answer.staleness_ms if answer.HasField("staleness_ms") else None,
        node_id=answer.node_id,
        region=answer.region,
    )


def node_status(answer: cluster_pb2.StatusResponse) -> NodeStatus:
    return NodeStatus(
        cluster_id=answer.cluster_id,
        node_id=answer.node_id,
        region=answer.region,
        version=answer.version,
        role=_ROLE.get(answer.role, "unknown"),
        term=answer.term,
        leader_id=answer.leader_id,
        commit_index=answer.commit_index,
        applied_index=answer.applied_index,
        last_index=answer.last_index,
        revision=answer.revision,
        live_keys=answer.live_keys,
        data_bytes=answer.data_bytes,
        staleness_ms=answer.staleness_ms if answer.HasField("staleness_ms") else None,
        rolling_hash=answer.rolling_hash,
        state_hash=answer.state_hash,
        state_hash_index=answer.state_hash_index,
        read_only_reason=answer.read_only_reason,
        members=tuple(_member(member) for member in answer.members),
        token=answer.token,
        uptime_s=answer.uptime_s,
        membership_index=answer.membership_index,
        heartbeat_ms=answer.heartbeat_ms,
        election_timeout_min_ms=answer.election_timeout_min_ms,
        election_timeout_max_ms=answer.election_timeout_max_ms,
        no_majority=answer.no_majority,
    )


def membership_result(answer: cluster_pb2.MembershipResponse) -> MembershipResult:
    return MembershipResult(answer.index, tuple(_member(member) for member in answer.members))


def given_role(role: str) -> "cluster_pb2.MemberRole.ValueType":
    """Raises InvalidArgument for anything but `voter` and `observer`."""
    if role not in _GIVEN_ROLE:
        raise InvalidArgument(f"role is {role!r}, must be 'voter' or 'observer'", metadata={"field": "role"})
    return _GIVEN_ROLE[role]


def _member(member: cluster_pb2.Member) -> MemberStatus:
    return MemberStatus(
        node_id=member.node_id,
        region=member.region,
        api_address=member.api_address,
        peer_address=member.peer_address,
        connected=member.connected,
        leader=member.leader,
        match_index=member.match_index if member.HasField("match_index") else None,
        lag_entries=member.lag_entries if member.HasField("lag_entries") else None,
        role=_MEMBER_ROLE.get(member.role, "unknown"),
    )
