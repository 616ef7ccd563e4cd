"""Simulated links: FIFO per direction and lane, with latency; what flies when a link falls is lost, or late.

A link has one lane, or two as the real one has when it is full: then Raft's own frames, and those of callers, overtake
each other.

Speaks the same events as the real transport: LinkUp, LinkDown, Frame, with epochs of each side's own.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from chaos.simulation.timeline import Timeline
from replicator.engine.events import Event, Frame, LinkDown, LinkUp
from replicator.model.ids import NodeId

Deliver = Callable[[NodeId, Event], None]


@dataclass(slots=True)
class _Direction:
    """One direction of one pair. stalled: bytes are accepted and do not move (a one-way cut under TCP).

    latency_s: mean. loss: chance that the sender's queue has no room for a frame. stretch: how much farther it is now.
    """

    latency_s: float
    last_arrival_s: list[float] = field(default_factory=lambda: [0.0, 0.0])  # by lane
    stretch: float = 1.0
    stalled: bool = False
    loss: float = 0.0
    held: list[tuple[int, bytes, bool]] = field(default_factory=list)


class Network:
    """All pairs of a cluster. late_frame: chance that a frame of a broken stream is handed over all the same.

    admits: whether two nodes that run let each other in. tail: chance that a frame takes much longer than others, up to
    tail_s_max: it was lost and sent again. Those behind it wait for it, as on any stream.
    """

    def __init__(
        self,
        timeline: Timeline,
        dice: random.Random,
        deliver: Deliver,
        *,
        admits: Callable[[NodeId, NodeId], bool],
        latency_s: float,
        late_frame: float,
        tail: float,
        tail_s_max: float,
        lanes: int,
    ) -> None:
        assert lanes in (1, 2), lanes
        self._admits, self._lanes = admits, lanes
        self._timeline, self._dice, self._deliver = timeline, dice, deliver
        self._latency_s, self._late_frame, self._tail, self._tail_s_max = latency_s, late_frame, tail, tail_s_max
        self.pairs: list[tuple[NodeId, NodeId]] = []
        self._known: list[NodeId] = []
        self._directions: dict[tuple[NodeId, NodeId], _Direction] = {}
        self._stream: dict[tuple[NodeId, NodeId], int] = {}  # number of the live stream of a pair
        self._blocked: set[tuple[NodeId, NodeId]] = set()
        self._epochs: dict[tuple[NodeId, NodeId], int] = {}  # receiver's view of the link: (receiver, sender) -> epoch
        self._streams_made = 0
        self._epochs_made = 0
        self.alive: set[NodeId] = set()

    def add(self, node: NodeId) -> None:
        """A place that a node may run at. Pairs differ in how far apart they are, as regions do."""
        if node in self._known:
            return
        for other in self._known:
            distance_s = self._latency_s * self._dice.uniform(0.3, 1.7)
            self.pairs.append((min(node, other), max(node, other)))
            self._directions[node, other], self._directions[other, node] = (
                _Direction(distance_s),
                _Direction(distance_s),
            )
        self._known.append(node)

    def connect(self, a: NodeId, b: NodeId) -> None:
        """A new stream between a and b, if nothing prevents it. An older one is superseded."""
        pair = (min(a, b), max(a, b))
        if pair in self._blocked or not {a, b} <= self.alive:
            return
        if not self._admits(a, b):
            self._timeline.after(1.0 + self._dice.random(), partial(self._redial, a, b))
            return
        if pair in self._stream:
            self.reset(a, b, redial=False)
        self._streams_made += 1
        self._stream[pair] = self._streams_made
        for me, peer in ((a, b), (b, a)):
            self._epochs_made += 1
            self._epochs[me, peer] = self._epochs_made
            self._directions[me, peer].held.clear()
            self._deliver(me, LinkUp(peer, self._epochs_made))

    def reset(self, a: NodeId, b: NodeId, *, redial: bool = True) -> None:
        """The stream between a and b breaks; each side learns of it in its own time."""
        pair = (min(a, b), max(a, b))
        if self._stream.pop(pair, None) is not None:
            for me, peer in ((a, b), (b, a)):
                epoch = self._epochs.pop((me, peer))
                notice = partial(self._deliver, me, LinkDown(peer, epoch))
                if redial:
                    self._timeline.after(self._dice.random() * 0.3, notice)
                else:
                    notice()
        if redial:
            self._timeline.after(0.31 + self._dice.random(), lambda: self._redial(a, b))

    def flap(self, a: NodeId, b: NodeId) -> None:
        """The stream breaks and a new one is up at once, unless the pair is cut."""
        self.reset(a, b, redial=False)
        self._timeline.after(self._dice.random() * 0.1, partial(self._redial, a, b))

    def block(self, a: NodeId, b: NodeId) -> None:
        """Cuts the pair until `heal`."""
        self._blocked.add((min(a, b), max(a, b)))
        self.reset(a, b)

    def stall(self, sender: NodeId, receiver: NodeId) -> None:
        """Nothing moves in one direction any more; nobody is told."""
        self._directions[sender, receiver].stalled = True

    def lose(self, sender: NodeId, receiver: NodeId, chance: float) -> None:
        """From now on, so many frames of one direction are lost although the link is up."""
        self._directions[sender, receiver].loss = chance

    def stretch(self, a: NodeId, b: NodeId, factor: float) -> None:
        """From now on, frames of the pair take so many times longer than they do at best."""
        self._directions[a, b].stretch = self._directions[b, a].stretch = factor

    def calm(self) -> None:
        """Every frame finds room again, takes the shortest way, and arrives at the first attempt."""
        self._tail = 0.0
        for direction in self._directions.values():
            direction.loss, direction.stretch = 0.0, 1.0

    def heal(self, a: NodeId, b: NodeId) -> None:
        """Lifts every fault of the pair."""
        self._blocked.discard((min(a, b), max(a, b)))
        self.release(a, b)
        self.release(b, a)
        self._redial(a, b)

    def release(self, sender: NodeId, receiver: NodeId) -> None:
        """One direction moves again: what was held arrives, late."""
        direction = self._directions[sender, receiver]
        direction.stalled = False
        held, direction.held = direction.held, []
        for stream, payload, for_caller in held:
            self._fly(sender, receiver, stream, payload, for_caller=for_caller)

    def stop(self, node: NodeId) -> None:
        """The node's process is gone, and its streams with it."""
        self.alive.discard(node)
        for a, b in self.pairs:
            if node in (a, b):
                self.reset(a, b)

    def start(self, node: NodeId) -> None:
        """The node's process runs; peers reach it."""
        self.alive.add(node)
        for a, b in self.pairs:
            if node in (a, b):
                self._timeline.after(self._dice.random() * 0.2, partial(self._redial, a, b))

    def judge(self, node: NodeId) -> None:
        """The node has applied another membership: links that it would no longer accept end."""
        for a, b in self.pairs:
            if node in (a, b) and (a, b) in self._stream and not self._admits(a, b):
                self.reset(a, b)

    def linked(self, a: NodeId, b: NodeId) -> bool:
        """Is there a live stream between the two?"""
        return (min(a, b), max(a, b)) in self._stream

    def send(self, sender: NodeId, receiver: NodeId, epoch: int, payload: bytes, *, for_caller: bool = False) -> None:
        """Queues a frame on the sender's link of that epoch; it is lost if that link is no longer the live one."""
        stream = self._stream.get((min(sender, receiver), max(sender, receiver)))
        if stream is None or self._epochs.get((sender, receiver)) != epoch:
            return
        direction = self._directions[sender, receiver]
        if direction.loss and self._dice.random() < direction.loss:
            return
        if direction.stalled:
            direction.held.append((stream, payload, for_caller))
        else:
            self._fly(sender, receiver, stream, payload, for_caller=for_caller)

    def _redial(self, a: NodeId, b: NodeId) -> None:
        if (min(a, b), max(a, b)) not in self._stream:
            self.connect(a, b)

    def _fly(self, sender: NodeId, receiver: NodeId, stream: int, payload: bytes, *, for_caller: bool) -> None:
        direction = self._directions[sender, receiver]
        delay_s = direction.latency_s * direction.stretch * (0.5 + self._dice.random())
        if self._dice.random() < self._tail:
            delay_s = min(delay_s * self._dice.paretovariate(0.7), delay_s + self._tail_s_max)
        lane = int(for_caller) if self._lanes > 1 else 0
        arrives_s = max(self._timeline.now_s + delay_s, direction.last_arrival_s[lane] + 1e-6)
        direction.last_arrival_s[lane] = arrives_s
        late_epoch = self._epochs.get((receiver, sender), 0)
        self._timeline.at(arrives_s, lambda: self._arrive(sender, receiver, stream, late_epoch, payload))

    def _arrive(self, sender: NodeId, receiver: NodeId, stream: int, epoch: int, payload: bytes) -> None:
        """Frames of a broken stream are lost, or now and then still handed over under their old epoch (fault 12)."""
        live = self._stream.get((min(sender, receiver), max(sender, receiver))) == stream
        if receiver in self.alive and (live or self._dice.random() < self._late_frame):
            self._deliver(receiver, Frame(sender, epoch, payload))
