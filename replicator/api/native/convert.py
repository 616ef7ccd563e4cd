"""Messages to plain values and back. Nothing is decided here besides what an absent field means."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from replicator.api.context import Context, metadata_value
from replicator.model.causal_token import TOKEN_HEADER
from replicator.model.members import MemberRole
from replicator.model.values import Consistency, KeyValue, MembershipResult, MemberStatus, NodeStatus
from replicator.service.members import WantedMember
from replicator.service.read_levels import ReadOptions
from replicator.service.scan import Page
from replicator.service.validate import WriteId, refuse
from replicator.v1 import cluster_pb2, kv_pb2

NamedWrite: TypeAlias = kv_pb2.PutRequest | kv_pb2.DeleteRequest | kv_pb2.CompareAndSetRequest | kv_pb2.TxnRequest

_CONSISTENCY: Final = {
    kv_pb2.CONSISTENCY_UNSPECIFIED: Consistency.CAUSAL,
    kv_pb2.CONSISTENCY_LINEARIZABLE: Consistency.LINEARIZABLE,
    kv_pb2.CONSISTENCY_CAUSAL: Consistency.CAUSAL,
    kv_pb2.CONSISTENCY_BOUNDED: Consistency.BOUNDED,
    kv_pb2.CONSISTENCY_LOCAL: Consistency.LOCAL,
}
assert set(_CONSISTENCY) == set(kv_pb2.Consistency.values()), "every level of the protocol needs a meaning"

_ROLE: Final = {
    "follower": cluster_pb2.ROLE_FOLLOWER,
    "candidate": cluster_pb2.ROLE_CANDIDATE,
    "leader": cluster_pb2.ROLE_LEADER,
}

_MEMBER_ROLE: Final = {
    MemberRole.VOTER: cluster_pb2.MEMBER_ROLE_VOTER,
    MemberRole.OBSERVER: cluster_pb2.MEMBER_ROLE_OBSERVER,
    MemberRole.JOINING: cluster_pb2.MEMBER_ROLE_JOINING,
}
assert set(_MEMBER_ROLE) == set(MemberRole), "every role of a member needs a number on the wire"
_GIVEN_ROLE: Final = {
    cluster_pb2.MEMBER_ROLE_VOTER: MemberRole.VOTER,
    cluster_pb2.MEMBER_ROLE_OBSERVER: MemberRole.OBSERVER,
}


def read_options(options: kv_pb2.ReadOptions, context: Context) -> ReadOptions:
    """Raises InvalidArgument for a level of a newer release: guessing one would be a silent downgrade.

    A token in the metadata counts if the field is empty: it travels with a call through services that know no tokens.
    """
    consistency = _CONSISTENCY.get(options.consistency)
    if consistency is None:
        raise refuse("options.consistency", f"is {options.consistency}, which this node does not know; upgrade it")
    token = options.token or metadata_value(context, TOKEN_HEADER) or ""
    return ReadOptions(consistency=consistency, token=token, max_staleness_ms=options.max_staleness_ms)


def write_id(request: NamedWrite) -> WriteId | None:
    """None if the caller gave none: such a write is applied each time that it is sent."""
    if not request.HasField("write_id"):
        return None
    given = request.write_id
    return WriteId(given.client_id, given.sequence, given.oldest_pending, given.issued_ms)


def key_value(kv: KeyValue) -> kv_pb2.KeyValue:
    return kv_pb2.KeyValue(
        key=kv.key,
        value=kv.value,
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        version=kv.version,
    )


def scan_response(page: Page) -> kv_pb2.ScanResponse:
    return kv_pb2.ScanResponse(
        kvs=[key_value(kv) for kv in page.kvs],
        next_page_token=page.next_page_token,
        revision=page.revision,
        token=page.token,
        staleness_ms=page.staleness_ms,
    )


def status_response(status: NodeStatus) -> cluster_pb2.StatusResponse:
    return cluster_pb2.StatusResponse(
        cluster_id=status.cluster_id,
        node_id=status.node_id,
        region=status.region,
        version=status.version,
        role=_ROLE.get(status.role, cluster_pb2.ROLE_UNSPECIFIED),
        term=status.term,
        leader_id=status.leader_id,
        commit_index=status.commit_index,
        applied_index=status.applied_index,
        last_index=status.last_index,
        revision=status.revision,
        live_keys=status.live_keys,
        data_bytes=status.data_bytes,
        staleness_ms=status.staleness_ms,
        rolling_hash=status.rolling_hash,
        state_hash=status.state_hash,
        state_hash_index=status.state_hash_index,
        read_only_reason=status.read_only_reason,
        members=_members(status.members),
        token=status.token,
        uptime_s=status.uptime_s,
        membership_index=status.membership_index,
        heartbeat_ms=status.heartbeat_ms,
        election_timeout_min_ms=status.election_timeout_min_ms,
        election_timeout_max_ms=status.election_timeout_max_ms,
        no_majority=status.no_majority,
        state_difference=status.state_difference,
        log_time_ms=status.log_time_ms,
        snapshot_problem=status.snapshot_problem,
    )


def wanted_member(request: cluster_pb2.SetMemberRequest) -> WantedMember:
    """Raises InvalidArgument for a role that a caller cannot give, or that a newer release knows."""
    role = _GIVEN_ROLE.get(request.role)
    if role is None:
        raise refuse("role", f"is {request.role}; a caller gives VOTER (1) or OBSERVER (2)")
    return WantedMember(
        node_id=request.node_id,
        region=request.region,
        peer_address=request.peer_address,
        api_address=request.api_address,
        role=role,
        directory_id=request.directory_id,
    )


def membership_response(result: MembershipResult) -> cluster_pb2.MembershipResponse:
    return cluster_pb2.MembershipResponse(index=result.index, members=_members(result.members))


def _members(members: Sequence[MemberStatus]) -> list[cluster_pb2.Member]:
    return [
        cluster_pb2.Member(
            node_id=member.node_id,
            region=member.region,
            api_address=member.api_address,
            peer_address=member.peer_address,
            connected=member.connected,
            leader=member.leader,
            match_index=member.match_index,
            lag_entries=member.lag_entries,
            role=_MEMBER_ROLE[MemberRole(member.role)],
            linked_at=member.linked_at,
        )
        for member in members
    ]
