"""Where a node stands: plain values that the composition root hands in, shown as gauges, and as counters if they grow.

Exporters collect from threads of their own, so they are given a finished snapshot, never the engine itself.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

ROLES: Final = ("follower", "candidate", "leader")


@dataclass(frozen=True, slots=True)
class PeerVitals:
    """One other node. lag_entries: known to the leader only.

    bytes_sent, bytes_saved: of frames, since the process started: as they left, and less than they were.
    """

    node_id: str
    region: str
    connected: bool
    lag_entries: int | None
    bytes_sent: int
    bytes_saved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """A snapshot of one node. staleness_ms: None while the node cannot tell how old its state is.

    log_lines_dropped: since the process started. watch_lag_revisions: that the slowest watch is behind the store.
    certificate_days_left: by what holds the certificate; negative once it has expired; empty without TLS.
    """

    role: str
    term: int
    has_leader: bool
    commit_index: int
    applied_index: int
    last_index: int
    revision: int
    live_keys: int
    data_bytes: int
    proposals_queued: int
    staleness_ms: float | None
    read_only: bool
    peers: tuple[PeerVitals, ...]
    lacks_snapshot: bool = False
    open_watches: int = 0
    watch_lag_revisions: int = 0
    cannot_make_snapshot: bool = False
    log_lines_dropped: int = 0
    certificate_days_left: tuple[tuple[str, float], ...] = ()


VitalsSource = Callable[[], Vitals | None]
Read = Callable[[Vitals], Iterable[Observation]]


def _one(read: Callable[[Vitals], float | None]) -> Read:
    def observe(vitals: Vitals) -> Iterable[Observation]:
        value = read(vitals)
        return () if value is None else (Observation(value),)

    return observe


def _roles(vitals: Vitals) -> Iterable[Observation]:
    return [Observation(int(vitals.role == role), {"role": role}) for role in ROLES]


def _by_peer(read: Callable[[PeerVitals], int | None]) -> Read:
    def observe(vitals: Vitals) -> Iterable[Observation]:
        return [
            Observation(value, {"peer": peer.node_id, "peer_region": peer.region})
            for peer in vitals.peers
            if (value := read(peer)) is not None
        ]

    return observe


def _expiries(vitals: Vitals) -> Iterable[Observation]:
    return [Observation(days, {"file": holder}) for holder, days in vitals.certificate_days_left]


GAUGES: Final[Sequence[tuple[str, str, Read]]] = (
    ("replicator.engine.role", "1 for the role that the node has", _roles),
    ("replicator.engine.term", "Raft term", _one(lambda v: v.term)),
    ("replicator.engine.has_leader", "1 if the node knows a leader", _one(lambda v: int(v.has_leader))),
    ("replicator.engine.commit_index", "Highest index known to be committed", _one(lambda v: v.commit_index)),
    ("replicator.engine.applied_index", "Highest index applied to the store", _one(lambda v: v.applied_index)),
    ("replicator.engine.last_index", "Last index in the log", _one(lambda v: v.last_index)),
    ("replicator.engine.proposals_queued", "Proposals that wait for the log", _one(lambda v: v.proposals_queued)),
    (
        "replicator.replication.lag_entries",
        "Entries that a peer trails this leader by",
        _by_peer(lambda p: p.lag_entries),
    ),
    (
        "replicator.replication.peer_connected",
        "1 if the link to the peer is up",
        _by_peer(lambda p: int(p.connected)),
    ),
    ("replicator.replication.staleness_ms", "Upper bound of the age of local state", _one(lambda v: v.staleness_ms)),
    ("replicator.storage.revision", "Newest store revision", _one(lambda v: v.revision)),
    ("replicator.storage.live_keys", "Keys that exist", _one(lambda v: v.live_keys)),
    ("replicator.storage.data_bytes", "Bytes of the store in use", _one(lambda v: v.data_bytes)),
    (
        "replicator.storage.read_only",
        "1 if the node refuses writes because the disk is full",
        _one(lambda v: int(v.read_only)),
    ),
    (
        "replicator.storage.lacks_snapshot",
        "1 if the node needs a snapshot and cannot store it",
        _one(lambda v: int(v.lacks_snapshot)),
    ),
    ("replicator.api.open_watches", "Watches that are open", _one(lambda v: v.open_watches)),
    (
        "replicator.api.watch_lag_revisions",
        "Revisions that the slowest watch is behind the store",
        _one(lambda v: v.watch_lag_revisions),
    ),
    (
        "replicator.storage.cannot_make_snapshot",
        "1 if the node could not make a snapshot that another node needs",
        _one(lambda v: int(v.cannot_make_snapshot)),
    ),
    ("replicator.tls.certificate_expiry_days", "Days until a certificate expires; negative since it has", _expiries),
)


COUNTERS: Final[Sequence[tuple[str, str, Read]]] = (
    (
        "replicator.transport.bytes_sent",
        "Bytes of frames sent to a peer, as they left",
        _by_peer(lambda p: p.bytes_sent),
    ),
    ("replicator.telemetry.log_lines_dropped", "Log lines that nobody read", _one(lambda v: v.log_lines_dropped)),
    ("replicator.transport.bytes_saved", "Bytes saved by compressing frames", _by_peer(lambda p: p.bytes_saved)),
)


def register_vitals(meter: Meter, source: VitalsSource) -> None:
    """Makes all gauges and counters. `source` may be called from any thread; None: there is nothing to show."""

    def bound(read: Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def callback(_: CallbackOptions) -> Iterable[Observation]:
            vitals = source()
            return () if vitals is None else read(vitals)

        return callback

    for name, description, read in GAUGES:
        meter.create_observable_gauge(name, callbacks=[bound(read)], description=description)
    for name, description, read in COUNTERS:
        meter.create_observable_counter(name, callbacks=[bound(read)], description=description)
