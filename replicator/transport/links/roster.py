"""Which link is the current one of each peer. Only caller of link_up and link_down, so their order is decided here."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from replicator.core.admission import Admission
from replicator.model.ids import NodeId
from replicator.model.incarnation import Incarnation
from replicator.transport.handshake.known_peers import Introduction, KnownPeers
from replicator.transport.handshake.verdicts import SUPERSEDING, Refused, admission_message, shown
from replicator.transport.links.frame_codec import FrameCodec
from replicator.transport.links.link import Link, LinkCounters, LinkRefused
from replicator.transport.log_once import LogOnce
from replicator.transport.ports import LinkSink, LinkStatus
from replicator.transport.streams import ByteStream, LinkLost

_LOG = logging.getLogger(__name__)

UNKNOWN_NODES_MAX: Final = 16  # linked at once because they know a newer membership
BESIDE_MARGIN_S: Final = 2.0
BESIDE_PAUSE_S: Final = 3.0  # a node that waits for its place tries again within 2 s
ADDRESSES_MAX: Final = 2  # of one peer: the group's, and the own file's
FAREWELL_S: Final = 1.0  # for what is queued to leave when a peer is no longer one


class Objection(StrEnum):
    """Why a stream whose handshake is in order is not made a link."""

    STOPPING = "this node stops"
    LAPSED = "the membership has changed meanwhile; try again"
    LINKED = "linked already, by a stream that the greater id of the two has dialled"
    FULL = f"{UNKNOWN_NODES_MAX} nodes are linked already that no membership known here names; try again"
    FORMER = "an earlier run of this node is linked; try again once that link is down"


@dataclass(slots=True)
class _Beside:
    """A later run that came while an earlier one was linked. lasted_s: between its tries, long pauses left out."""

    run: Incarnation
    epoch: int
    tried_s: float
    lasted_s: float = 0.0


@dataclass(slots=True)
class _Seat:
    """What is remembered of one peer."""

    link: Link | None = None
    last_refusal: str | None = None
    counters: LinkCounters = field(default_factory=LinkCounters)
    beside: _Beside | None = None


class Roster:
    """Invariants: at most one live link a peer; epochs only grow; each link_up has exactly one link_down.

    Everyone in the known_peers has a seat; any other node has one as long as it is linked.
    Of two streams of a pair, the one that the greater id dialled stays, of two from one side the newer. Both ends see
    the same two streams and decide alike, so a pair that dials from both sides ends with one link.
    """

    def __init__(self, known_peers: KnownPeers, sink: LinkSink) -> None:
        self._known_peers = known_peers
        self._sink = sink
        self._epochs = itertools.count(1)
        self._seats: dict[NodeId, _Seat] = {peer.node_id: _Seat() for peer in known_peers.others()}
        self._closed = False
        self.log_once = LogOnce(_LOG)
        self.on_vacant: Callable[[NodeId], None] = lambda _peer: None  # a link went down, and none took its place yet

    @property
    def known_peers(self) -> KnownPeers:
        """Whom the node knows now."""
        return self._known_peers

    def secret_of_group(self) -> bytes:
        """Of the membership that the node has applied; empty without one."""
        return self._known_peers.membership.secret

    def follow(self, known_peers: KnownPeers) -> None:
        """From now on `known_peers`; takes the links of those down that would be refused by it."""
        self._known_peers = known_peers
        for peer in known_peers.others():
            self._seats.setdefault(peer.node_id, _Seat())
        for link in tuple(self._live()):
            refusal = known_peers.refusal_of(link.said)
            if refusal is not None:
                self._close(link, f"{refusal}: {admission_message(known_peers, link.said, refusal)}")
        for peer_id in tuple(self._seats):
            self._tidy(peer_id)

    def objection_to(self, said: Introduction, *, dialled: bool) -> Objection | None:
        """None if `install` may be called now. dialled: by this node."""
        if self._closed:
            return Objection.STOPPING
        if self._known_peers.refusal_of(said) is not None:
            return Objection.LAPSED
        current = self.current(said.peer)
        if current is None:
            return Objection.FULL if self._is_unknown(said.peer) and self._unknown() >= UNKNOWN_NODES_MAX else None
        if self.is_linked_earlier_run(said):
            return Objection.FORMER
        own_is_greater = self._known_peers.settings.node_id > said.peer
        if current.is_dialled == own_is_greater and dialled != own_is_greater:
            return Objection.LINKED
        return None

    def is_linked_earlier_run(self, said: Introduction) -> bool:
        """Whether another run of the same directory is linked: it may live, and two must not act in turn.

        The link of a process that has died is down within moments, or after the keepalive if its machine has died.
        """
        current = self.current(said.peer)
        return (
            current is not None
            and current.said.directory_id == said.directory_id
            and current.said.incarnation != said.incarnation
        )

    def run_beside(self, said: Introduction) -> Incarnation | None:
        """The run that is linked, if it has been for longer, while `said` came and came again, than one that has died.

        Time in which this process itself stood still would make a copy of every node that was restarted meanwhile: so a
        pause between two tries counts for BESIDE_PAUSE_S at most.
        """
        seat, now_s = self._seats.get(said.peer), asyncio.get_running_loop().time()
        if seat is None or seat.link is None or not self.is_linked_earlier_run(said):
            return None
        beside = seat.beside
        if beside is None or (beside.run, beside.epoch) != (said.incarnation, seat.link.epoch):
            beside = seat.beside = _Beside(said.incarnation, seat.link.epoch, now_s)
        beside.lasted_s += min(now_s - beside.tried_s, BESIDE_PAUSE_S)
        beside.tried_s = now_s
        timers = self._known_peers.settings.timers
        dead_after_s = timers.keepalive_time_s + timers.keepalive_timeout_s + BESIDE_MARGIN_S
        return seat.link.said.incarnation if beside.lasted_s > dead_after_s else None

    def install(self, said: Introduction, stream: ByteStream, address: str = "") -> Link:
        """Makes a link over `stream` the current one of the peer; an older one goes down first.

        address: where this node dialled it.
        """
        peer = said.peer
        assert self.objection_to(said, dialled=stream.is_dialled) is None, "asked for beforehand"
        seat = self._seats.setdefault(peer, _Seat())
        if seat.link is not None:
            old = seat.link
            self._unseat(old, "superseded by a newer stream")
            old.cut("superseded by a newer stream")
        settings = self._known_peers.settings
        codec = FrameCodec(settings, said, self.secret_of_group)
        link = Link(
            said, stream, self._sink, seat.counters,
            codec=codec, queue_bytes_max=settings.queue_bytes_max, address=address,
        )  # fmt: skip
        link.epoch = next(self._epochs)
        link.live = True
        seat.link = link
        seat.last_refusal = None
        seat.counters.links += 1
        for number in range(ADDRESSES_MAX):
            self.log_once.forget(dial_key(peer, number))
        if link.is_dialled:  # else the peer may still refuse our answer, as it may have done a moment ago
            self._forget_refusals(peer)
        _LOG.info("link up peer=%s epoch=%d%s", peer, link.epoch, self._where_if_elsewhere(link))
        try:
            self._sink.link_up(peer, link.epoch, said.directory_id)
        except BaseException:
            link.live, seat.link = False, None  # the sink never got to know this link: no link_down for it
            self._tidy(peer)
            self.on_vacant(peer)
            raise
        return link

    async def carry(self, link: Link) -> None:
        """Runs an installed link to its end, and takes it down however it ends."""
        why = "the peer broke the stream"  # what it means when gRPC cancels a handler
        refused: Refused | None = None
        try:
            why = await link.run()
        except LinkRefused as error:
            why, refused = f"refused by the peer: {error}", error.refused
        except LinkLost as error:
            why = str(error)
        except Exception:
            why = "the sink failed"
            _LOG.exception("sink failed peer=%s epoch=%d: a bug, the link is closed", link.peer, link.epoch)
        finally:
            self.retire(link, why)
            if refused is not None:
                self.refused_by(link.peer, f"refused by peer={link.peer}", refused)
            else:
                self._forget_refusals(link.peer)

    def retire(self, link: Link, why: str) -> None:
        """Takes `link` down in the sink's eyes; does nothing if that has happened already."""
        if link.live:
            self._unseat(link, why)
            self._tidy(link.peer)
            self.on_vacant(link.peer)

    @property
    def is_closed(self) -> bool:
        """True once the transport stops."""
        return self._closed

    def close(self) -> tuple[Link, ...]:
        """Retires every link and takes no more; returns them, so that their queues can be written out."""
        self._closed = True
        links = tuple(self._live())
        for link in links:
            self.retire(link, "this node stops")
        return links

    def current(self, peer: NodeId) -> Link | None:
        """The live link of `peer`; None if there is none; members and unknown nodes alike."""
        seat = self._seats.get(peer)
        return None if seat is None else seat.link

    def refused(self, peer: NodeId, where: str, refused: Refused, *, number: int = 0) -> None:
        """Notes and logs a refusal by either side; the same one only once, on whichever way it comes again.

        number: of the peer's address, see AddressTurns: what each of them leads to is a matter of its own.
        """
        matter = f"{refused.reason}: {refused.message}"
        seat = self._seats.get(peer)
        key = _refusal_key(peer, number) if seat is not None else f"unknown:{shown(peer)}"
        self.log_once.say(key, f"{where}: {matter}", matter=matter)
        if seat is not None:
            seat.last_refusal = f"{where}: {matter}"

    def refused_by(self, peer: NodeId, where: str, refused: Refused, *, number: int = 0) -> None:
        """As `refused`, by the other side. A node that joins is refused until its group has been asked: no news."""
        if self._known_peers.membership.members or refused.reason != Admission.NOT_A_MEMBER:
            self.refused(peer, where, refused, number=number)
        if self._closed or not refused.is_proven:
            return
        if refused.founder:
            self._sink.note_refusal(peer, refused.founder)
        if refused.reason in SUPERSEDING and (refused.is_by_group or not self._known_peers.membership.secret):
            self._sink.superseded(peer, refused.message)

    def status(self) -> Mapping[NodeId, LinkStatus]:
        """All known peers, linked or not, and the other nodes that are linked."""
        return {peer: _status_of(seat, self._elsewhere(seat.link)) for peer, seat in self._seats.items()}

    def _elsewhere(self, link: Link | None) -> str:
        """Where the link was dialled, if the first address of its peer is another one now; else empty."""
        known = self._known_peers.address_of(link.peer) if link is not None else None
        if link is None or known is None or link.address in ("", known.address):
            return ""
        return link.address

    def _where_if_elsewhere(self, link: Link) -> str:
        elsewhere, known = self._elsewhere(link), self._known_peers.address_of(link.peer)
        if not elsewhere or known is None:
            return ""
        return f" address={elsewhere}, of this node's own file; the group knows address={known.address}"

    def _forget_refusals(self, peer: NodeId) -> None:
        for number in range(ADDRESSES_MAX):
            self.log_once.forget(_refusal_key(peer, number))

    def _live(self) -> Iterable[Link]:
        return (seat.link for seat in self._seats.values() if seat.link is not None)

    def _is_unknown(self, peer: NodeId) -> bool:
        return self._known_peers.address_of(peer) is None

    def _unknown(self) -> int:
        return sum(self._is_unknown(link.peer) for link in self._live())

    def _close(self, link: Link, why: str) -> None:
        """Takes the link of one down that is no longer to be linked; what is queued may still leave."""
        self.retire(link, why)
        asyncio.get_running_loop().call_later(FAREWELL_S, link.cut, why)

    def _unseat(self, link: Link, why: str) -> None:
        seat = self._seats[link.peer]
        assert seat.link is link, "only the current link is live"
        link.live = False
        seat.link = None
        link.queue.close()
        _LOG.info("link down peer=%s epoch=%d why=%s", link.peer, link.epoch, why)
        self._sink.link_down(link.peer, link.epoch)

    def _tidy(self, peer: NodeId) -> None:
        seat = self._seats.get(peer)
        if seat is not None and seat.link is None and self._is_unknown(peer):
            del self._seats[peer]


def dial_key(peer: NodeId, number: int) -> str:
    """Under which LogOnce says why an address of the peer is not reached."""
    return f"dial:{peer}:{number}"


def _refusal_key(peer: NodeId, number: int) -> str:
    return f"refusal:{peer}:{number}"


def _status_of(seat: _Seat, linked_at: str) -> LinkStatus:
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
        bytes_saved=counters.bytes_saved,
        bytes_received=counters.bytes_received,
        linked_at=linked_at,
    )
