"""What each room is told, derived from one checked configuration. Pure: NodeConfig in, settings out."""

from importlib.metadata import version
from pathlib import Path

from replicator.config.schema import MemberSection, NodeConfig
from replicator.config.timing import resolve_timing
from replicator.engine.settings import EngineSettings
from replicator.model.ids import ClusterId, NodeId, Region
from replicator.service.status import MemberAddress, NodeIdentity
from replicator.telemetry import TelemetrySettings
from replicator.transport.settings import PeerAddress, TlsFiles, TransportSettings

_MIB = 1 << 20


def release() -> str:
    """The installed version of this package."""
    return version("replicator")


def identity(config: NodeConfig) -> NodeIdentity:
    """Who the node is, and who the others are."""
    return NodeIdentity(
        cluster_id=ClusterId(config.cluster.id),
        node_id=NodeId(config.node.id),
        region=Region(config.node.region),
        version=release(),
        members=tuple(
            MemberAddress(NodeId(member.id), Region(member.region), member.api, member.peer)
            for member in config.cluster.members
        ),
    )


def engine_settings(config: NodeConfig) -> EngineSettings:
    """Group, timers and queue bounds of the engine."""
    return EngineSettings(
        cluster_id=config.cluster.id,
        node_id=NodeId(config.node.id),
        peers=tuple(NodeId(member.id) for member in _others(config)),
        timing=resolve_timing(config.raft),
        regions={NodeId(member.id): Region(member.region) for member in config.cluster.members},
        leader_preference=tuple(Region(region) for region in config.raft.leader_preference),
        proposals_queued_max=config.limits.proposals_queued_max,
        proposals_queued_bytes_max=config.limits.proposals_queued_mib_max * _MIB,
        log_entries_max=config.storage.log_entries_max,
        log_bytes_max=config.storage.log_mib_max * _MIB,
    )


def unknown_preferences(config: NodeConfig) -> list[str]:
    """Regions that are preferred for the leader and have no member: a misspelt name, or one that is still to come."""
    regions = {member.region for member in config.cluster.members}
    return [region for region in config.raft.leader_preference if region not in regions]


def transport_settings(config: NodeConfig) -> TransportSettings:
    """Addresses, certificates and queue bounds of the links."""
    return TransportSettings(
        cluster_id=ClusterId(config.cluster.id),
        node_id=NodeId(config.node.id),
        region=Region(config.node.region),
        listen=config.peer_listen,
        peers=tuple(PeerAddress(NodeId(m.id), Region(m.region), m.peer) for m in _others(config)),
        tls=_tls_files(config),
        queue_bytes_max=config.limits.peer_queue_mib_max * _MIB,
    )


def telemetry_settings(config: NodeConfig) -> TelemetrySettings:
    """Whose metrics these are, and where they go."""
    return TelemetrySettings(
        node_id=config.node.id,
        region=config.node.region,
        version=release(),
        otlp_endpoint=config.telemetry.otlp_endpoint,
        trace_ratio=config.telemetry.trace_ratio,
    )


def storage_bytes_max(config: NodeConfig) -> int:
    """The size beyond which the store refuses writes."""
    return config.storage.size_max_mib * _MIB


def _others(config: NodeConfig) -> list[MemberSection]:
    return [member for member in config.cluster.members if member.id != config.node.id]


def _tls_files(config: NodeConfig) -> TlsFiles | None:
    tls = config.tls
    if tls is None:
        return None
    return TlsFiles(ca_file=Path(tls.ca_file), cert_file=Path(tls.cert_file), key_file=Path(tls.key_file))
