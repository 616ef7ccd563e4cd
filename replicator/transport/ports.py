"""What the transport offers to, and asks of, the room above it."""

from dataclasses import dataclass
from typing import Protocol

from replicator.model.ids import NodeId

PROTOCOL_VERSION = 1
PROTOCOL_VERSION_MIN = 1
FRAME_BYTES_MAX = 8 << 20


class LinkSink(Protocol):
    """The engine. For one peer, calls come as link_up(e), frame(e)*, link_down(e), then the same of a greater epoch.

    An exception raised by `frame` closes the link, and is logged: it is a bug of the sink.
    """

    def link_up(self, peer: NodeId, epoch: int) -> None:
        """A stream is established; `send` works from inside this call."""
        ...

    def link_down(self, peer: NodeId, epoch: int) -> None:
        """The stream is gone, with whatever was queued for it. No frame of this epoch follows."""
        ...

    async def frame(self, peer: NodeId, epoch: int, payload: bytes) -> None:
        """One frame, in order. The link reads no further frame meanwhile: awaiting is the back-pressure.

        Cancelled if the link goes down meanwhile, after link_down was called.
        """
        ...


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """One peer's link now, and counters since the process started. Queued and counted bytes are payload bytes.

    epoch: of the current link; 0 when there is none. links: how many were ever established.
    last_refusal: why the last handshake was refused (either side), None once one succeeds.
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
    bytes_received: int
