"""Which link is the current one of each peer. Only caller of link_up and link_down, so their order is decided here."""

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from replicator.model.ids import NodeId
from replicator.transport.link import Link, LinkCounters, LinkRefused
from replicator.transport.notices import Notices
from replicator.transport.ports import LinkSink, LinkStatus
from replicator.transport.settings import TransportSettings
from replicator.transport.streams import ByteStream, LinkLost

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seat:
    """What is remembered of one peer."""

    link: Link | None = None
    last_refusal: str | None = None
    counters: LinkCounters = field(default_factory=LinkCounters)


class Roster:
    """Invariants: at most one live link a peer; epochs only grow; each link_up has exactly one link_down."""

    def __init__(self, settings: TransportSettings, sink: LinkSink) -> None:
        self._settings = settings
        self._sink = sink
        self._epochs = itertools.count(1)
        self._seats: dict[NodeId, _Seat] = {peer.node_id: _Seat() for peer in settings.peers}
        self._closed = False
        self.notices = Notices(_LOG)

    def install(self, peer: NodeId, stream: ByteStream) -> Link | None:
        """Makes a link over `stream` the current one of `peer`; an older one goes down first. None when stopping."""
        if self._closed:
            return None
        seat = self._seats[peer]
        if seat.link is not None:
            old = seat.link
            self.retire(old, "superseded by a newer stream")
            old.cut("superseded by a newer stream")
        link = Link(peer, stream, self._sink, seat.counters, self._settings.queue_bytes_max)
        link.epoch = next(self._epochs)
        link.live = True
        seat.link = link
        seat.last_refusal = None
        seat.counters.links += 1
        self.notices.forget(peer)
        _LOG.info("link up peer=%s epoch=%d", peer, link.epoch)
        try:
            self._sink.link_up(peer, link.epoch)
        except BaseException:
            link.live, seat.link = False, None  # the sink never got to know this link: no link_down for it
            raise
        return link

    async def carry(self, link: Link) -> None:
        """Runs an installed link to its end, and takes it down however it ends."""
        why = "the peer broke the stream"  # what it means when gRPC cancels a handler
        try:
            why = await link.run()
        except LinkRefused as error:
            why = f"refused by the peer: {error}"
            self.refused(link.peer, f"refused by peer={link.peer}: {error}")
        except LinkLost as error:
            why = str(error)
        except Exception:
            why = "the sink failed"
            _LOG.exception("sink failed peer=%s epoch=%d: a bug, the link is closed", link.peer, link.epoch)
        finally:
            self.retire(link, why)

    def retire(self, link: Link, why: str) -> None:
        """Takes `link` down in the sink's eyes; does nothing if that has happened already."""
        if not link.live:
            return
        seat = self._seats[link.peer]
        assert seat.link is link, "only the current link is live"
        link.live = False
        seat.link = None
        link.queue.close()
        _LOG.info("link down peer=%s epoch=%d why=%s", link.peer, link.epoch, why)
        self._sink.link_down(link.peer, link.epoch)

    @property
    def is_closed(self) -> bool:
        """True once the transport stops."""
        return self._closed

    def close(self) -> tuple[Link, ...]:
        """Retires every link and takes no more; returns them, so that their queues can be written out."""
        self._closed = True
        links = tuple(seat.link for seat in self._seats.values() if seat.link is not None)
        for link in links:
            self.retire(link, "this node stops")
        return links

    def current(self, peer: NodeId) -> Link | None:
        """The live link of `peer`. Raises KeyError for a node that is not a peer, which is the caller's bug."""
        return self._seats[peer].link

    def refused(self, peer: str, why: str) -> None:
        """Notes and logs a refusal by either side."""
        self.notices.say(peer, why)
        seat = self._seats.get(NodeId(peer))
        if seat is not None:
            seat.last_refusal = why

    def status(self) -> Mapping[NodeId, LinkStatus]:
        """All peers, linked or not."""
        return {peer: _status_of(seat) for peer, seat in self._seats.items()}


def _status_of(seat: _Seat) -> LinkStatus:
    link, counters = seat.link, seat.counters
    return LinkStatus(
        connected=link is not None,
        epoch=link.epoch if link is not None else 0,
        queued_bytes=link.queue.queued_bytes if link is not None else 0,
        last_refusal=seat.last_refusal,
        links=counters.links,
        frames_sent=counters.frames_sent,
        frames_received=counters.frames_received,
        frames_dropped=counters.frames_dropped,
        bytes_sent=counters.bytes_sent,
        bytes_received=counters.bytes_received,
    )
