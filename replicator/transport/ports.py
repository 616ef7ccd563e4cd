"""What the transport offers to, and asks of, the room above it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from replicator.model.ids import NodeId
from replicator.model.incarnation import KnownIncarnation

PROTOCOL_VERSION = 3
PROTOCOL_VERSION_MIN = 3
FRAME_BYTES_MAX = 8 << 20
SNAPSHOT_CHUNK_BYTES: Final = 256 << 10
SNAPSHOT_STREAMS_MAX: Final = 2  # snapshots that one node sends at once


class LinkSink(Protocol):
    """The engine. For one peer, calls come as link_up(e), frame(e)*, link_down(e), then the same of a greater epoch.

    An exception raised by `frame` closes the link, and is logged: it is a bug of the sink.
    """

    def link_up(self, peer: NodeId, epoch: int, directory_id: bytes) -> None:
        """A stream is established; `send` works from inside this call. directory_id: of the peer's data, as it says.

        The peer may be a node that no membership of this node names: it has proven that it belongs to the group, and
        says that it knows a newer one.
        """
        ...

    def link_down(self, peer: NodeId, epoch: int) -> None:
        """The stream is gone, with whatever was queued for it. No frame of this epoch follows."""
        ...

    def note_refusal(self, peer: NodeId, founder: bytes) -> None:
        """The peer does not let this node into its group, which has that founder. Said at each try."""
        ...

    def superseded(self, peer: NodeId, why: str) -> None:
        """The peer has met a later run of this node's data directory, or a run beside this one: ours must not act."""
        ...

    async def frame(self, peer: NodeId, epoch: int, payload: bytes) -> None:
        """One frame, in order of its lane (SendQueue). The link reads none meanwhile: awaiting is the back-pressure.

        Cancelled if the link goes down meanwhile, after link_down was called.
        """
        ...


class IncarnationMemory(Protocol):
    """Which run of which data directory was linked last under each node's name; kept durably, above the transport."""

    def known(self, node_id: NodeId) -> KnownIncarnation | None:
        """None if that node was never linked. Called on the loop, so it must not block."""
        ...

    async def note(self, node_id: NodeId, run: KnownIncarnation) -> None:
        """Returns once it is durable, and `known` says so. Raises IncarnationNotKept."""
        ...


class IncarnationNotKept(Exception):
    """The run of a peer could not be made durable, so it is not linked; the text says why."""


class SnapshotSource(Protocol):
    """Who holds snapshots, above the transport."""

    def snapshot_file(self, snapshot_id: str) -> Path | None:
        """The file of a snapshot; None if it is not, or no longer, held. Called on the loop, so it must not block.

        The id has the form of one and names no other folder. A file must not change while it can be found here; it may
        be deleted at any time, and a stream that has begun still sends all of it.
        """
        ...


class FetchFailure(StrEnum):
    """Why a snapshot did not come.

    GONE: the peer does not, or no longer, hold it, or is none any more. TIMED_OUT: in all, or without a byte. REFUSED:
    the peer sends us nothing. WRONG_SIZE: its file is longer or shorter than announced; what was fetched is deleted.
    DISK: of this node. STOPPING: this node stops. What was fetched stays for a later try, except after WRONG_SIZE.
    """

    GONE = "GONE"
    TIMED_OUT = "TIMED_OUT"
    REFUSED = "REFUSED"
    WRONG_SIZE = "WRONG_SIZE"
    DISK = "DISK"
    STOPPING = "STOPPING"


class SnapshotUnavailable(Exception):
    """A snapshot could not be fetched. `detail` is one line for the log."""

    def __init__(self, reason: FetchFailure, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """One peer's link now, and counters since the process started. Queued bytes are payload bytes.

    bytes_sent, bytes_received: of frames as they travel, compressed or not. bytes_saved: by compressing those sent.

    epoch: of the current link; 0 when there is none. links: how many were ever established.
    last_refusal: why the last handshake was refused (either side), None once one succeeds.
    linked_at: where this node dialled the link, if that is another address than the group knows now; else empty.
    frames_dropped: frames that were queued, not yet written, when a link went down.
    """

    connected: bool
    epoch: int
    queued_bytes: int
    last_refusal: str | None
    links: int
    frames_sent: int
    frames_received: int
    frames_dropped: int
    bytes_sent: int
    bytes_saved: int
    bytes_received: int
    linked_at: str = ""
