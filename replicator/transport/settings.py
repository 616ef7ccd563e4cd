"""What a transport is told once, at start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from replicator.certificates import NodeCertificates
from replicator.model.ids import ClusterId, NodeId, Region
from replicator.model.incarnation import RUN_ID_BYTES, Incarnation
from replicator.model.members import DIRECTORY_ID_BYTES
from replicator.transport.ports import FRAME_BYTES_MAX


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """One other node, and the HOST:PORT under which it is reached (not necessarily the one it binds).

    second_address: tried in turn with `address` while no link comes about; empty for none.
    """

    node_id: NodeId
    region: Region
    address: str
    second_address: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """In the order in which they are tried."""
        return (self.address, self.second_address) if self.second_address else (self.address,)


@dataclass(frozen=True, slots=True)
class LinkTimers:
    """Seconds.

    connect: TCP, TLS and HTTP/2 set-up. hello: from there (or from the accepted stream) to a valid Hello.
    keepalive_time: silence before a ping; keepalive_timeout: silence after it that kills the link; so a blackholed link
    is dead after their sum. stable_after: a link that lived this long resets the backoff. late_dial: without a link,
    after which the lesser id of a pair dials as well. snapshot_silence: without a byte of a snapshot, after which
    either side gives its stream up.
    """

    connect_s: float = 2.0
    hello_s: float = 5.0
    keepalive_time_s: float = 5.0
    keepalive_timeout_s: float = 3.0
    backoff_min_s: float = 0.1
    backoff_max_s: float = 1.0
    refused_backoff_max_s: float = 15.0
    stable_after_s: float = 5.0
    late_dial_s: float = 2.0
    snapshot_silence_s: float = 30.0


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """listen: HOST:PORT to bind, port 0 for any. directory_id, incarnation: of this node's data, see storage.

    cluster_secret: shared by all nodes of the cluster; without TLS it alone tells them from other processes, so only
    with `tls` may it be empty.

    contacts: dialled even if no membership names them; a node that joins knows its group only by these. A row with
    the own id is left out.
    listed: where the own file says that others are: tried as well when a peer is not reached where the group knows it.
    The handshake decides who answers, so an outdated row costs an attempt, and no more.
    routes: where this node dials a peer, whatever the others say: its way there leads through something.
    tls: shared with the other ports; followed while it changes. None for plaintext, on loopback only.
    queue_bytes_max: payload bytes that may wait for one peer. window_bytes: what one stream may have under way unread:
    a link carries at most window_bytes per round trip. snapshot_bytes_per_s: of all snapshots that this node sends
    together, so that links keep their share of the network and the loop; None for no bound.
    compression: auto: what goes to other regions, unless `listen` is loopback; on: all; off: nothing, nor taken.
    """

    cluster_id: ClusterId
    node_id: NodeId
    region: Region
    listen: str
    directory_id: bytes
    incarnation: Incarnation
    cluster_secret: bytes = field(default=b"", repr=False)
    contacts: tuple[PeerAddress, ...] = ()
    listed: Mapping[NodeId, str] = field(default_factory=dict)
    routes: Mapping[NodeId, str] = field(default_factory=dict)
    tls: NodeCertificates | None = None
    queue_bytes_max: int = 32 << 20
    window_bytes: int = 16 << 20
    snapshot_bytes_per_s: int | None = 64 << 20
    compression: Literal["auto", "on", "off"] = "auto"
    timers: LinkTimers = LinkTimers()

    def __post_init__(self) -> None:
        others = tuple(contact for contact in self.contacts if contact.node_id != self.node_id)
        object.__setattr__(self, "contacts", others)
        assert len({contact.node_id for contact in others}) == len(others), "ids of contacts are unique"
        assert len(self.directory_id) == DIRECTORY_ID_BYTES, "the id that storage keeps"
        assert len(self.incarnation.run_id) == RUN_ID_BYTES, "one for each process"
        assert self.cluster_secret or self.tls is not None, "a plaintext port needs a secret, even on loopback"
        assert self.queue_bytes_max > 0, "a queue needs room"
        assert 1 << 16 <= self.window_bytes < 1 << 31, "HTTP/2 windows are 64 KiB to 2 GiB (RFC 9113, 6.9.2)"
        rate = self.snapshot_bytes_per_s
        assert rate is None or rate >= 1 << 20, "below 1 MiB/s, chunks are so rare that a stream seems broken"
        assert FRAME_BYTES_MAX < 1 << 31, "gRPC counts message bytes in an int32"
