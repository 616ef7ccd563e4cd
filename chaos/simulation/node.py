"""One simulated node: the shipped Replica and Storage, turns in virtual time, crashes at any point of a turn."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.simulation.network import Network
from chaos.simulation.snapshots import SnapshotExchange
from chaos.simulation.timeline import NodeClock, Timeline
from replicator.engine.replica import Event, Outgoing, Replica, Turn
from replicator.engine.settings import EngineSettings
from replicator.model.ids import ClusterId, NodeId
from replicator.model.observe import SilentObserver
from replicator.storage.storage import Storage

STORE_BYTES_MAX = 1 << 30
CLUSTER = ClusterId("simulated")

AfterTurn = Callable[["SimNode", Turn], None]


@dataclass(slots=True)
class SimNode:
    """A data directory that survives crashes, and a process that does not."""

    settings: EngineSettings
    directory: Path
    timeline: Timeline
    network: Network
    dice: random.Random
    after_turn: AfterTurn
    commit_s: float
    incarnation: int = 0
    storage: Storage | None = None
    replica: Replica | None = None
    paused_until_s: float = 0.0
    clock: NodeClock | None = None
    exchange: SnapshotExchange | None = None
    _inbox: list[Event] = field(default_factory=list)
    _turn_open: bool = False
    _turn_planned: bool = False
    _open_turn: Turn | None = None
    _timer_number: int = 0

    @property
    def node_id(self) -> NodeId:
        """Name."""
        return self.settings.node_id

    @property
    def turn_open(self) -> bool:
        """Between `turn` and `complete`."""
        return self._turn_open

    def start(self) -> None:
        """The process starts on what its disk holds."""
        assert self.replica is None, "already running"
        self.incarnation += 1
        self.storage = Storage.open(
            self.directory, cluster_id=CLUSTER, node_id=self.node_id, size_max_bytes=STORE_BYTES_MAX
        )
        self.clock = NodeClock(
            self.timeline, offset_s=self.dice.random() * 1e5, wall_skew_ms=self.dice.randrange(-500, 500)
        )
        self.replica = Replica(
            self.settings,
            log=self.storage,
            applied_index=self.storage.position.applied_index,
            clock=self.clock,
            dice=random.Random(self.dice.random()),
            observer=SilentObserver(),
        )
        self._inbox, self._turn_open, self._turn_planned, self._open_turn = [], False, False, None
        if self.exchange is not None:
            self.exchange.restarted()
        self.network.start(self.node_id)
        self.wake()

    def crash(self) -> None:
        """SIGKILL: what was committed stays; the turn in hand may or may not have reached the disk."""
        if self.replica is None or self.storage is None:
            return
        if self._open_turn is not None and self.dice.random() < 0.5:
            self.storage.commit(self._open_turn.write)  # durable, and nobody was told
        self.storage.close()
        self.replica = self.storage = None
        self.network.stop(self.node_id)

    def deliver(self, event: Event) -> None:
        """Something arrived for this node."""
        if self.replica is not None:
            self._inbox.append(event)
            self.wake()

    def wake(self) -> None:
        """Plans a turn, unless one is planned or open."""
        if not self._turn_planned and not self._turn_open and self.replica is not None:
            self._turn_planned = True
            incarnation = self.incarnation
            due_s = max(self.timeline.now_s + 1e-5, self.paused_until_s)
            self.timeline.at(due_s, lambda: self._take_turn(incarnation))

    def _take_turn(self, incarnation: int) -> None:
        if incarnation != self.incarnation or self.replica is None:
            return
        if self.timeline.now_s < self.paused_until_s:
            self.timeline.at(self.paused_until_s, lambda: self._take_turn(incarnation))
            return
        self._turn_planned, self._turn_open = False, True
        events, self._inbox = self._inbox, []
        turn = self._open_turn = self.replica.turn(events)
        delay_s = 0.0 if turn.write.is_empty else self.commit_s * (0.5 + self.dice.expovariate(2.0))
        self.timeline.after(delay_s, lambda: self._finish_turn(incarnation, turn))

    def _finish_turn(self, incarnation: int, turn: Turn) -> None:
        if incarnation != self.incarnation or self.replica is None or self.storage is None:
            return
        outcomes = [] if turn.write.is_empty else self.storage.commit(turn.write)
        self._open_turn = None
        late = self.replica.complete(outcomes)
        self.after_turn(self, turn)
        assert not turn.bad_links, turn.bad_links
        self.send((*turn.frames, *late))
        self._turn_open = False
        if self.exchange is not None:
            self.exchange.after_turn()
        if self._inbox:
            self.wake()
        else:
            self._plan_timer(incarnation)

    def _plan_timer(self, incarnation: int) -> None:
        assert self.replica is not None
        assert self.clock is not None
        wait_s = max(self.replica.next_due_s() - self.clock.monotonic_s(), 1e-4)
        self._timer_number += 1
        number = self._timer_number
        self.timeline.after(wait_s, lambda: self._timer(incarnation, number))

    def _timer(self, incarnation: int, number: int) -> None:
        if incarnation == self.incarnation and number == self._timer_number:
            self.wake()

    def send(self, frames: Sequence[Outgoing]) -> None:
        """Hands frames to the network."""
        for peer, epoch, payload in frames:
            self.network.send(self.node_id, peer, epoch, payload)
