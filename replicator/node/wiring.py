"""Builds the rooms of one node and hands them to each other. Nothing is started here but what must be open to be built.

storage -> writer -> engine <-> transport; engine and storage -> services -> api; telemetry observes all of them.
"""

import random
from dataclasses import dataclass

from replicator.api.server import ApiServer, ApiSettings, Services
from replicator.api.unread import Cut
from replicator.certificates import NodeCertificates
from replicator.config.schema import NodeConfig
from replicator.engine.driver import RaftEngine
from replicator.engine.ports import EngineParts
from replicator.engine.snapshots.folders import SnapshotFiles
from replicator.model.errors import DataDirectoryError
from replicator.model.ids import ClusterId, NodeId
from replicator.node import settings
from replicator.node.certificates import days_left
from replicator.node.clock import SystemClock
from replicator.node.known_runs import KnownRuns
from replicator.service.compact import CompactService
from replicator.service.feed.hub import Hub
from replicator.service.feed.watch import WatchService
from replicator.service.leadership import LeadershipService
from replicator.service.members import MemberService
from replicator.service.read import ReadService
from replicator.service.scan import ScanService
from replicator.service.status import StatusService
from replicator.service.transact import TransactService
from replicator.service.write import WriteService
from replicator.storage import Storage, StorageWriter
from replicator.telemetry import LogQueue, PeerVitals, Telemetry, Vitals
from replicator.transport.peer_transport import PeerTransport


@dataclass(frozen=True, slots=True)
class Rooms:
    """One node, built and not yet started."""

    storage: Storage
    writer: StorageWriter
    engine: RaftEngine
    transport: PeerTransport
    api: ApiServer
    certificates: NodeCertificates | None
    feed: Hub


def open_storage(config: NodeConfig, *, joining: bool) -> Storage:
    """Takes the data directory. joining: see Storage.open. Raises DataDirectoryError, or CorruptData."""
    directory = settings.data_dir(config)
    try:
        return Storage.open(
            directory,
            cluster_id=ClusterId(config.cluster.id),
            node_id=NodeId(config.node.id),
            size_max_bytes=settings.storage_bytes_max(config),
            joining=joining,
        )
    except DataDirectoryError as error:
        raise DataDirectoryError(f"node.data_dir: {error}") from error


def build_rooms(
    config: NodeConfig,
    storage: Storage,
    certificates: NodeCertificates | None,
    telemetry: Telemetry,
    *,
    dice: random.Random,
    cut: Cut,
) -> Rooms:
    """Everything between the store and the API. Within the running loop. certificates: None for plaintext."""
    writer, clock = StorageWriter(storage), SystemClock()
    engine_settings = settings.engine_settings(config, storage.directory_id, joining=storage.joining)
    engine = RaftEngine(
        engine_settings,
        EngineParts(
            storage=storage,
            writer=writer,
            snapshots=SnapshotFiles(storage, engine_settings),
            clock=clock,
            dice=dice,
            observer=telemetry,
        ),
    )
    transport = PeerTransport(
        settings.transport_settings(
            config, storage.directory_id, storage.incarnation, certificates, joining=storage.joining
        ),
        engine,
        dice,
        engine.membership(),
        KnownRuns(storage, writer),
    )
    engine.connect(transport)
    transport.serve_snapshots(engine)
    watch = WatchService(engine, storage, settings.watch_limits(config), clock)
    services = Services(
        write=WriteService(engine, clock),
        transact=TransactService(engine, clock),
        read=ReadService(engine, storage, clock),
        scan=ScanService(engine, storage, clock),
        status=StatusService(
            engine,
            engine,
            storage,
            settings.identity(config),
            timing=engine.timing,
            clock=clock,
            linked_at=transport.linked_at,
        ),
        members=MemberService(engine, engine, NodeId(config.node.id), dice=dice, clock=clock),
        leadership=LeadershipService(engine, dice, clock),
        watch=watch,
        compact=CompactService(engine, clock),
    )
    api = ApiServer(ApiSettings.from_config(config, certificates), services, telemetry, cut)
    return Rooms(storage, writer, engine, transport, api, certificates, watch.hub)


def look_at(rooms: Rooms, log: LogQueue | None) -> Vitals:
    """A snapshot for the gauges."""
    status = rooms.engine.status()
    position = rooms.storage.applied_position
    links = rooms.transport.links()
    region_of = {member.node_id: member.region for member in rooms.engine.membership().members}
    return Vitals(
        role=status.role,
        term=status.term,
        has_leader=bool(status.leader_id),
        commit_index=status.commit_index,
        applied_index=status.applied_index,
        last_index=status.last_index,
        revision=position.revision,
        live_keys=position.live_keys,
        data_bytes=rooms.storage.data_bytes(),
        proposals_queued=rooms.engine.queue_depth,
        staleness_ms=rooms.engine.staleness_ms(),
        read_only=bool(status.read_only_reason),
        lacks_snapshot=rooms.engine.lacks_snapshot,
        cannot_make_snapshot=rooms.engine.cannot_make_snapshot,
        open_watches=len(rooms.feed),
        watch_lag_revisions=rooms.feed.lag(),
        peers=tuple(
            PeerVitals(
                peer.node_id,
                region_of[peer.node_id],
                peer.connected,
                peer.lag_entries,
                bytes_sent=links[peer.node_id].bytes_sent,
                bytes_saved=links[peer.node_id].bytes_saved,
            )
            for peer in status.peers
            if peer.node_id in region_of and peer.node_id in links
        ),
        log_lines_dropped=0 if log is None else log.dropped_lines,
        certificate_days_left=days_left(rooms.certificates),
    )
