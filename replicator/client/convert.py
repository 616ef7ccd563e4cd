"""Messages to the values that callers get, and arguments to what messages hold."""

from typing import Final

from replicator.client.arguments import check_read_level, check_text
from replicator.model.errors import InvalidArgument
from replicator.model.values import (
    CompareAndSetResult,
    Consistency,
    DeleteResult,
    KeyValue,
    MembershipResult,
    MemberStatus,
    NodeStatus,
    PutResult,
    ScanPage,
)
from replicator.v1 import cluster_pb2, kv_pb2

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
    check_read_level(consistency, token, max_staleness_ms)
    return kv_pb2.ReadOptions(
        consistency=_CONSISTENCY[consistency or Consistency.CAUSAL],
        token=token or "",
        max_staleness_ms=max_staleness_ms or 0,
    )


def key_value(kv: kv_pb2.KeyValue) -> KeyValue:
    return KeyValue(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version)


def scan_page(answer: kv_pb2.ScanResponse) -> ScanPage:
    return ScanPage(
        pairs=tuple(key_value(kv) for kv in answer.kvs),
        revision=answer.revision,
        token=answer.token,
        staleness_ms=answer.staleness_ms if answer.HasField("staleness_ms") else None,
    )


def write_result(
    kind: int, revision: int, token: str, found: kv_pb2.KeyValue | None, *, changed: bool
) -> PutResult | DeleteResult | CompareAndSetResult:
    """found: by a lost comparison; None if the key did not exist, too."""
    if kind == kv_pb2.WRITE_KIND_PUT:
        return PutResult(revision, token)
    if kind == kv_pb2.WRITE_KIND_DELETE:
        return DeleteResult(changed, revision, token)
    mod_revision = revision if changed else 0 if found is None else found.mod_revision
    return CompareAndSetResult(changed, revision, None if found is None else found.value, mod_revision, token)


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
        state_difference=answer.state_difference,
        log_time_ms=answer.log_time_ms,
        snapshot_problem=answer.snapshot_problem,
    )


def membership_result(answer: cluster_pb2.MembershipResponse) -> MembershipResult:
    return MembershipResult(answer.index, tuple(_member(member) for member in answer.members))


def given_role(role: str) -> "cluster_pb2.MemberRole.ValueType":
    """Raises InvalidArgument for anything but `voter` and `observer`."""
    check_text("role", role)
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
        linked_at=member.linked_at,
    )
