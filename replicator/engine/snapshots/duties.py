"""Snapshots that a node has to serve, and those that it is offered. Decides and sends; its driver makes and fetches.

The leader has each member that lacks served by a source near it (snapshot_sources.py), and asks that source once a
period. A member that is asked makes a snapshot of what it has applied, offers it to the receiver under the leader's
term, and promises so to the leader, again and again. Invariants:
1. what is offered is committed, from any source: it is a store at its applied index, and only that is ever applied;
2. a node serves only who lacks as the leader of its own term says: an order ends with the term, when the leader has not
   repeated it for some periods, and with a newer membership that the receiver is not in;
3. what is offered connects to the leader's log as of its last order; one that the log has left behind is made again;
4. one making at a time, one file for all receivers; nothing here grows beyond the number of members.
Driver's contract: once `has_any`, call `step` every `period_s` until there is none; make when it says so, then call
`made` or `could_not_make`. Fetch what is in `offered`, and if that fails by fault of the source, say `could_not_take`.
"""

import logging
from dataclasses import dataclass

from replicator.engine.core import ReplicaCore
from replicator.engine.raft.message_bounds import Malformed
from replicator.engine.raft.messages import (
    offered_manifest,
    snapshot_not_taken,
    snapshot_offer,
    snapshot_promised,
    snapshot_refused,
    snapshot_wanted,
    stale_term,
)
from replicator.engine.snapshots.sources import PATIENCE_PERIODS, Situation, SnapshotSources
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import SnapshotManifest
from replicator.v1 import raft_pb2

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Order:
    """What the leader of `term` wants for one receiver. index_min: its log began there."""

    leader: NodeId
    term: Term
    index_min: LogIndex
    until_s: float


class SnapshotDuties:
    """One replica's part in it. `offered`: the newest offer that is worth taking, until it is taken from here."""

    def __init__(self, core: ReplicaCore) -> None:
        self._node_id, self._cluster_id = core.settings.node_id, core.settings.cluster_id
        self.period_s = core.settings.snapshot_period_s
        self._group, self._graft, self._journal, self._pump = core.group, core.graft, core.journal, core.pump
        self._clock, self._send = core.clock, core.links.send
        self.refusing = False  # draining: this node serves no other any more
        self._sources = (Term(0), SnapshotSources(self._node_id, self.period_s))
        self._own: frozenset[NodeId] = frozenset()  # whom the leader serves itself
        self._orders: dict[NodeId, _Order] = {}  # by receiver
        self.offered: tuple[NodeId, SnapshotManifest] | None = None

    # For the driver ------------------------------------------------------------------------------------------------

    def lacking(self) -> frozenset[NodeId]:
        """Linked members that need a snapshot, as their leader knows; empty elsewhere."""
        return self._pump.lacking() if self._graft.is_leader else frozenset()

    def has_any(self) -> bool:
        """Whether a member needs a snapshot, from this node or on its order."""
        return bool(self.lacking() or self._live_orders())

    def step(self, held: SnapshotManifest | None, *, making: bool) -> bool:
        """One period: orders, offers, promises. True if a snapshot must be made now.

        held: the newest that this node has made and holds. making: one is being made. Never True while that is so.
        """
        if self._graft.is_leader:
            self._order()
        needed = [index for index in self._index_min_by_receiver().values() if index <= self._journal.applied_index]
        must_make = not making and any(held is None or held.index < index for index in needed)
        self._speak(held, making=making or must_make)
        return must_make

    def made(self, manifest: SnapshotManifest) -> None:
        """It is there: no need to wait for the next period."""
        self._speak(manifest, making=False)

    def could_not_make(self, why: str) -> None:
        """Somebody else may be able to; the leader tries again if nobody is."""
        now_s = self._clock.monotonic_s()
        if self._graft.is_leader:
            for receiver in self._own:
                self._live_sources().failed(self._node_id, receiver, why, now_s)
        for receiver in self._live_orders():
            self._refuse(self._orders.pop(receiver).leader, receiver, why)

    def could_not_take(self, source: NodeId) -> None:
        """What `source` offered could not be fetched, or was not what it should be."""
        leader = self._graft.leader
        if leader is not None and leader != self._node_id:
            self._send(leader, snapshot_not_taken(self._graft.term, source))

    # For the dispatch ----------------------------------------------------------------------------------------------

    def take_offer(self, peer: NodeId, offer: raft_pb2.SnapshotOffer) -> None:
        """From the leader, or from whom it has asked. Raises Malformed."""
        if offer.term < self._graft.term:
            self._send(peer, stale_term(self._graft.term))
        elif offer.index > self._journal.applied_index and not self._graft.is_leader:
            self.offered = peer, offered_manifest(offer, self._cluster_id)

    def wanted(self, peer: NodeId, wanted: raft_pb2.SnapshotWanted) -> None:
        """Member side of an order. Raises Malformed."""
        if wanted.index_min < 1 or wanted.receiver in (self._node_id, peer):
            raise Malformed(f"an order to serve {wanted.receiver!r} from {wanted.index_min} on")
        if wanted.term < self._graft.term:
            self._send(peer, stale_term(self._graft.term))
            return
        if wanted.term > self._graft.term or peer != self._graft.leader:
            return  # that term is not known here so far; the order is repeated
        receiver = NodeId(wanted.receiver)
        if self.refusing:
            self._refuse(peer, receiver, "this node is shutting down")
        elif self._group.membership.get(receiver) is not None:  # else the news of it are on their way
            until_s = self._clock.monotonic_s() + PATIENCE_PERIODS * self.period_s
            self._orders[receiver] = _Order(peer, Term(wanted.term), LogIndex(wanted.index_min), until_s)

    def promised(self, peer: NodeId, promised: raft_pb2.SnapshotPromised) -> None:
        """Leader side of a member's answer."""
        if promised.term != self._graft.term or not self._graft.is_leader:
            return
        sources, receiver, now_s = self._live_sources(), NodeId(promised.receiver), self._clock.monotonic_s()
        match promised.WhichOneof("answer"):
            case "making":
                sources.making(peer, receiver, now_s)
            case "refused":
                sources.failed(peer, receiver, promised.refused, now_s)
            case "index" if promised.index >= self._journal.first_index:
                sources.offering(peer, receiver, now_s)
            case _:
                pass  # the log has left it behind: the next order says so, and until then this is as good as silence

    def not_taken(self, peer: NodeId, message: raft_pb2.SnapshotNotTaken) -> None:
        """Leader side of a receiver's trouble."""
        if message.term == self._graft.term and self._graft.is_leader:
            why = "what it offers could not be taken"
            self._live_sources().failed(NodeId(message.source), peer, why, self._clock.monotonic_s())

    # -----------------------------------------------------------------------------------------------------------------

    def _order(self) -> None:
        """Every receiver gets a source; sources far from here are told."""
        situation = Situation(
            membership=self._group.membership,
            lacking=self.lacking(),
            linked=frozenset(self._pump.linked),
            match={peer: self._graft.match_index(peer) for peer in self._pump.progress},
            first_index=self._journal.first_index,
            last_index=self._journal.last_index,
        )
        sources = self._live_sources().choose(situation, self._clock.monotonic_s())
        self._own = frozenset(receiver for receiver, source in sources.items() if source == self._node_id)
        for receiver, source in sources.items():
            if source != self._node_id:
                self._send(source, snapshot_wanted(self._graft.term, receiver, self._journal.first_index))

    def _live_sources(self) -> SnapshotSources:
        """Of our present term: what was promised to us in an earlier one is void."""
        if self._sources[0] != self._graft.term:
            self._sources = self._graft.term, SnapshotSources(self._node_id, self.period_s)
        return self._sources[1]

    def _live_orders(self) -> dict[NodeId, _Order]:
        """Prunes what is over, for good. Asked in every turn."""
        if not self._orders:
            return {}
        now_s, term, leader = self._clock.monotonic_s(), self._graft.term, self._graft.leader
        self._orders = {
            receiver: order
            for receiver, order in self._orders.items()
            if (order.term, order.leader) == (term, leader)
            and now_s <= order.until_s
            and self._group.membership.get(receiver) is not None
        }
        return dict(self._orders)

    def _index_min_by_receiver(self) -> dict[NodeId, LogIndex]:
        """Whom this node serves, and the first index of the log that the snapshot must connect to.

        Nothing is made for who cannot be reached, nor promised: one that has just started may be linked in a moment,
        and of one that stays away the leader's patience ends.
        """
        if self._graft.is_leader:
            return dict.fromkeys(self._own & self.lacking(), self._journal.first_index)
        orders = self._live_orders().items()
        return {receiver: order.index_min for receiver, order in orders if receiver in self._pump.linked}

    def _speak(self, held: SnapshotManifest | None, *, making: bool) -> None:
        """Offers to receivers, promises to the leader."""
        term, leader = self._graft.term, self._graft.leader
        for receiver, index_min in sorted(self._index_min_by_receiver().items()):
            promised: LogIndex | None = None
            if held is not None and held.index >= index_min:
                self._send(receiver, snapshot_offer(term, held))
                promised = held.index
            elif not making:
                continue
            if leader is not None and leader != self._node_id:
                self._send(leader, snapshot_promised(term, receiver, promised))

    def _refuse(self, leader: NodeId, receiver: NodeId, why: str) -> None:
        self._orders.pop(receiver, None)
        self._send(leader, snapshot_refused(self._graft.term, receiver, why))
