"""What each room is told, derived from one checked configuration. Pure: NodeConfig in, settings out."""

import os
from importlib.metadata import version
from pathlib import Path

from replicator.certificates import NodeCertificates
from replicator.config.schema import MemberSection, NodeConfig
from replicator.config.timing import resolve_timing
from replicator.engine.settings import EngineSettings
from replicator.model.errors import StartupError
from replicator.model.ids import ClusterId, NodeId, Region
from replicator.model.incarnation import Incarnation
from replicator.model.members import GROUP_SECRET_BYTES
from replicator.node.connection_guard import ADMIN_CONNECTIONS_MAX, PEER_CONNECTIONS_MAX, PortLimits
from replicator.node.join_plan import initial_membership
from replicator.service.feed.watch import WatchLimits
from replicator.service.status import NodeIdentity
from replicator.telemetry import TelemetrySettings
from replicator.transport.handshake.secret_file import SecretFile
from replicator.transport.settings import PeerAddress, TransportSettings

_MIB = 1 << 20


def release() -> str:
    """The installed version of this package."""
    return version("replicator")


def identity(config: NodeConfig) -> NodeIdentity:
    """Who the node is."""
    return NodeIdentity(
        cluster_id=ClusterId(config.cluster.id),
        node_id=NodeId(config.node.id),
        region=Region(config.node.region),
        version=release(),
    )


def engine_settings(config: NodeConfig, directory_id: bytes, *, joining: bool) -> EngineSettings:
    """Group, timers and queue bounds of the engine. directory_id, joining: of the open storage."""
    return EngineSettings(
        cluster_id=config.cluster.id,
        node_id=NodeId(config.node.id),
        membership=initial_membership(config, joining=joining),
        directory_id=directory_id,
        joining=joining,
        timing=resolve_timing(config.raft),
        new_secret=lambda: os.urandom(GROUP_SECRET_BYTES),
        leader_preference=tuple(Region(region) for region in config.raft.leader_preference),
        auto_timing=config.raft.profile == "auto",
        in_flight_bytes_max=config.limits.in_flight_mib_max * _MIB,
        proposals_queued_max=config.limits.proposals_queued_max,
        proposals_queued_bytes_max=config.limits.proposals_queued_mib_max * _MIB,
        log_entries_max=config.storage.log_entries_max,
        log_bytes_max=config.storage.log_mib_max * _MIB,
    )


def unknown_preferences(config: NodeConfig) -> list[str]:
    """Regions that are preferred for the leader and have no member: a misspelt name, or one that is still to come."""
    regions = {member.region for member in config.cluster.members}
    return [region for region in config.raft.leader_preference if region not in regions]


def transport_settings(
    config: NodeConfig,
    directory_id: bytes,
    incarnation: Incarnation,
    tls: NodeCertificates | None,
    *,
    joining: bool,
) -> TransportSettings:
    """Own address, certificates, secret and queue bounds of the links. Raises StartupError, for the secret's file.

    directory_id, incarnation, joining: of the open storage.

    A node that joins knows its group by the other rows of its file, until a membership has reached it. Any node tries
    their addresses where those of the membership fail.
    """
    others = tuple(PeerAddress(NodeId(row.id), Region(row.region), row.peer) for row in _others(config))
    return TransportSettings(
        cluster_id=ClusterId(config.cluster.id),
        node_id=NodeId(config.node.id),
        region=Region(config.node.region),
        listen=config.peer_listen,
        directory_id=directory_id,
        incarnation=incarnation,
        cluster_secret=_cluster_secret(config),
        contacts=others if joining else (),
        listed={other.node_id: other.address for other in others},
        routes={NodeId(route.id): route.peer for route in config.routes},
        tls=tls,
        queue_bytes_max=config.limits.peer_queue_mib_max * _MIB,
        compression=config.links.compression,
    )


def watch_limits(config: NodeConfig) -> WatchLimits:
    """How many watches are open at a time."""
    return WatchLimits(config.limits.watches_max, config.limits.watches_per_address_max)


def port_limits(config: NodeConfig, api: int, peer: int) -> dict[int, PortLimits]:
    """How many connections each port takes. api, peer: the ports as bound."""
    limits = config.limits
    ports = {
        api: PortLimits("listen.api", limits.connections_max, limits.connections_per_address_max),
        peer: PortLimits("listen.peer", PEER_CONNECTIONS_MAX, PEER_CONNECTIONS_MAX, is_small=True),
    }
    if config.listen.admin is not None:
        port = int(config.listen.admin.rpartition(":")[2])
        ports[port] = PortLimits("listen.admin", ADMIN_CONNECTIONS_MAX, ADMIN_CONNECTIONS_MAX, is_small=True)
    return ports


def telemetry_settings(config: NodeConfig) -> TelemetrySettings:
    """Whose metrics these are, and where they go."""
    return TelemetrySettings(
        node_id=config.node.id,
        region=config.node.region,
        version=release(),
        otlp_endpoint=config.telemetry.otlp_endpoint,
        trace_ratio=config.telemetry.trace_ratio,
    )


def data_dir(config: NodeConfig) -> Path:
    """Where the node's data are. Raises StartupError if that can be no path."""
    if "\0" in config.node.data_dir:
        raise StartupError("node.data_dir: holds a NUL character; name a folder")
    return Path(config.node.data_dir)


def storage_bytes_max(config: NodeConfig) -> int:
    """The size beyond which the store refuses writes."""
    return config.storage.size_max_mib * _MIB


def _others(config: NodeConfig) -> list[MemberSection]:
    return [member for member in config.cluster.members if member.id != config.node.id]


def _cluster_secret(config: NodeConfig) -> bytes:
    file = config.cluster.secret_file
    return b"" if file is None else SecretFile(Path(file)).read()
