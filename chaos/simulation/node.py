"""One simulated node: the shipped Replica and Storage, turns in virtual time, crashes at any point of a turn.

Keeps the contract of `replicator.engine.replica` as `replicator.engine.turns` does: one turn at a time, nothing leaves
before its commit, heartbeats while that takes long, and on a full disk the same write again until there is room.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from chaos.simulation import power
from chaos.simulation.disk import DiskRecord
from chaos.simulation.network import Network
from chaos.simulation.snapshots import SnapshotExchange
from chaos.simulation.timeline import WALL_SKEW_MS_MAX, NodeClock, Timeline
from replicator.core.causal_token import token_scope
from replicator.engine.events import Event, Frame, Outgoing, Turn
from replicator.engine.replica import Replica
from replicator.engine.settings import EngineSettings
from replicator.model.ids import ClusterId, LogIndex, NodeId, Region
from replicator.model.incarnation import RUN_ID_BYTES
from replicator.model.members import DIRECTORY_ID_BYTES, Member, MemberRole, Membership
from replicator.model.observe import SilentObserver
from replicator.storage.storage import Position, Storage
from replicator.v1 import store_pb2

STORE_BYTES_MAX = 1 << 30
CLUSTER = ClusterId("simulated")
TOKEN_SCOPE = token_scope(CLUSTER.encode())  # all tokens are of one group: the world has no other
FULL_DISK_RETRY_S = 0.5
REGIONS = Region("east"), Region("west")


class Watcher(Protocol):
    """An observer of what nodes do."""

    def started(self, node: "SimNode") -> None:
        """A process has opened its disk, and begins."""

    def took(self, node: "SimNode", events: Sequence[Event]) -> None:
        """A turn is about to take these, or a node that can take no turn refuses what they ask."""

    def decided(self, node: "SimNode", turn: Turn) -> None:
        """What a turn wants made durable; none of it is."""

    def stored(self, node: "SimNode", turn: Turn) -> None:
        """What a turn decided is on disk; nobody has been told, nor will be if the process dies now."""

    def turned(self, node: "SimNode", turn: Turn) -> None:
        """A turn is completed: callers are answered, its frames leave next."""

    def said(self, node: "SimNode", frames: Sequence[Outgoing]) -> None:
        """Frames leave."""


@dataclass(slots=True)
class SimNode:
    """A data directory that survives crashes, and a process that does not.

    commit_s: what a commit takes, about. drift_ppm: of its clocks. calendar_error: how many times worse its calendar is
    than operators are told to keep it. generation: how many nodes had this name before.
    is_gone: never starts again. slow_until_s, slow_s: until then a commit takes that. full_until_s: until then it finds
    no room. sync_fails: the next commit does, and ends the process. power_fails: during the
    next one.
    """

    settings: EngineSettings
    directory: Path
    timeline: Timeline
    network: Network
    dice: random.Random
    watcher: Watcher
    commit_s: float
    drift_ppm: float = 0.0
    calendar_error: int = 1
    generation: int = 0
    is_gone: bool = False
    incarnation: int = 0
    storage: Storage | None = None
    replica: Replica | None = None
    clock: NodeClock | None = None
    exchange: SnapshotExchange | None = None
    disk: DiskRecord = field(default_factory=DiskRecord)
    slow_until_s: float = 0.0
    slow_s: float = 0.0
    full_until_s: float = 0.0
    sync_fails: bool = False
    power_fails: bool = False
    _paused_until_s: float = 0.0
    _frozen: list[Callable[[], None]] = field(default_factory=list)
    _synced: bytes | None = None  # pages that are surely on the disk, kept only if commits are not synced
    _uncommitted: Turn | None = None
    _inbox: list[Event] = field(default_factory=list)
    _open_turn: Turn | None = None
    _committing: bool = False
    _turn_planned: bool = False
    _timer_number: int = 0

    @property
    def node_id(self) -> NodeId:
        """Name."""
        return self.settings.node_id

    @property
    def directory_id(self) -> bytes:
        """Of its disk; random in life."""
        return f"{self.node_id}/{self.generation}".encode().ljust(DIRECTORY_ID_BYTES, b".")

    @property
    def peers(self) -> Sequence[NodeId]:
        """The other members, as far as this node knows."""
        return [member.node_id for member in self.membership.members if member.node_id != self.node_id]

    @property
    def membership(self) -> Membership:
        """That it has applied, as far as anybody can know now."""
        return self.settings.membership if self.replica is None else self.replica.group.membership

    @property
    def turn_open(self) -> bool:
        """Between `turn` and `complete`."""
        return self._open_turn is not None

    # Processes -----------------------------------------------------------------------------------------------------

    def wall_skew_ms(self, dice: random.Random) -> int:
        """How wrong its calendar is when somebody has set it."""
        return dice.randint(-WALL_SKEW_MS_MAX, WALL_SKEW_MS_MAX) * self.calendar_error

    def start(self) -> None:
        """The process starts on what its disk holds, if it is still there."""
        assert self.replica is None, "already running"
        if self.is_gone:
            return
        self.incarnation += 1
        self.storage = Storage.open(
            self.directory,
            cluster_id=CLUSTER,
            node_id=self.node_id,
            size_max_bytes=STORE_BYTES_MAX,
            new_directory_id=lambda: self.directory_id,
            new_run_id=lambda: f"run {self.incarnation}".encode().ljust(RUN_ID_BYTES, b"."),
            joining=self.settings.joining,
        )
        assert self.storage.directory_id == self.directory_id
        assert self.storage.joining == self.settings.joining
        self._synced = None if power.is_synced(self.storage) else power.image(self.storage)
        self.watcher.started(self)
        self.clock = NodeClock(
            self.timeline,
            offset_s=self.dice.random() * 1e5,
            wall_skew_ms=self.wall_skew_ms(self.dice),
            drift_ppm=self.drift_ppm,
        )
        self._inbox, self._turn_planned, self._open_turn, self._committing = [], False, None, False
        self._uncommitted, self._paused_until_s, self._frozen = None, 0.0, []
        self.replica = self._begin(self.storage, self.clock)
        if self.exchange is not None:
            self.exchange.restarted()
        self.network.start(self.node_id)
        self.wake()

    def _begin(self, storage: Storage, clock: NodeClock) -> Replica:
        return Replica(
            replace(self.settings, directory_id=self.directory_id),
            log=storage,
            applied_index=storage.position.applied_index,
            clock=clock,
            dice=random.Random(self.dice.random()),
            observer=SilentObserver(),
        )

    def crash(self) -> None:
        """SIGKILL: what was committed stays, also if nobody was told."""
        if self.storage is not None:
            self._die(self.storage)

    def lose_power(self) -> None:
        """What was not synced is lost; of a commit in progress, all or nothing is left, whatever was written of it."""
        storage, turn = self.storage, self._uncommitted
        if storage is None:
            return
        if self._synced is not None:
            power.restore(storage, self._synced)
        elif turn is not None:
            self._landed(turn, power.interrupted(storage, turn.write, self.dice))
        self._die(storage)
        power.lose_reader_table(storage, self.dice)

    def _die(self, storage: Storage) -> None:
        storage.close()
        self.replica = self.storage = None
        self.network.stop(self.node_id)

    def _landed(self, turn: Turn, position: Position | None) -> None:
        """position: of the disk after that turn; None if it never happened."""
        if position is not None:
            self.disk.committed(turn.write, position)
            self.watcher.stored(self, turn)

    def pause(self, for_s: float) -> None:
        """SIGSTOP, and SIGCONT after that: the world goes on meanwhile, and what it sends waits."""
        self._paused_until_s = max(self._paused_until_s, self.timeline.now_s + for_s)

        def goes_on() -> None:
            if self.timeline.now_s >= self._paused_until_s:
                self.resume()

        self.timeline.at(self._paused_until_s, goes_on)

    def resume(self) -> None:
        """The process goes on, wherever it was."""
        self._paused_until_s = self.timeline.now_s
        frozen, self._frozen = self._frozen, []
        for step in frozen:
            step()

    def deliver(self, event: Event) -> None:
        """Something arrived for this node."""
        if self.replica is not None:
            self._inbox.append(event)
            self.wake()

    def send(self, frames: Sequence[Outgoing]) -> None:
        """Hands frames to the network."""
        self.watcher.said(self, frames)
        for peer, epoch, payload in frames:
            self.network.send(self.node_id, peer, epoch, payload)

    def wake(self) -> None:
        """Plans a turn, unless one is planned or open."""
        if not self._turn_planned and self._open_turn is None and self.replica is not None:
            self._turn_planned = True
            self._later(1e-5, self._take_turn)

    # Turns ---------------------------------------------------------------------------------------------------------

    def _later(self, delay_s: float, step: "Step") -> None:
        """Performs a step of this process, once it runs and unless it has died."""
        incarnation = self.incarnation

        def due() -> None:
            if incarnation != self.incarnation or self.replica is None or self.storage is None:
                return
            if self.timeline.now_s < self._paused_until_s:
                self._frozen.append(due)
            else:
                step(self.replica, self.storage)

        self.timeline.after(delay_s, due)

    def _take_turn(self, replica: Replica, _storage: Storage) -> None:
        self._turn_planned = False
        events, self._inbox = self._inbox, []
        self.watcher.took(self, events)
        turn = self._open_turn = replica.turn(events)
        self.watcher.decided(self, turn)
        if turn.write.is_empty:
            self._finish(replica, turn, [])
            return
        slow = self.timeline.now_s < self.slow_until_s
        delay_s = self.slow_s * (0.2 + self.dice.random()) if slow else self.commit_s * (0.5 + self.dice.expovariate(2))
        done = self.dice.random()  # the rest is the way back from the thread that commits
        self._committing, self._uncommitted = True, turn
        self._later(delay_s * done, lambda replica, storage: self._commit(replica, storage, turn, delay_s * (1 - done)))
        timing = replica.timers.timing
        for beat in range(1, int(min(delay_s, timing.election_timeout_max_s) / timing.heartbeat_s) + 1):
            self._later(beat * timing.heartbeat_s, lambda replica, _storage: self._beat(replica, turn))

    def _commit(self, replica: Replica, storage: Storage, turn: Turn, rest_s: float) -> None:
        if self.timeline.now_s < self.full_until_s:
            self._committing = False
            self.send(replica.refuse_queued("no room"))
            frames = [event for event in self._inbox if isinstance(event, Frame)]
            self._inbox = [event for event in self._inbox if not isinstance(event, Frame)]
            self.watcher.took(self, frames)  # what is refused was heard
            self.send(replica.refuse_forwards(frames))
            self._later(FULL_DISK_RETRY_S, lambda replica, storage: self._commit(replica, storage, turn, rest_s))
            return
        if self.power_fails:
            self.lose_power()
            return
        self._uncommitted = None
        if self.sync_fails:
            self._landed(turn, power.unsynced(storage, turn.write, self.dice))
            self._die(storage)
            return
        outcomes = storage.commit(turn.write)
        self._landed(turn, storage.position)
        self._later(rest_s, lambda replica, _storage: self._finish(replica, turn, outcomes))

    def _beat(self, replica: Replica, turn: Turn) -> None:
        if self._committing and self._open_turn is turn:
            self.send(replica.heartbeat_while_committing())

    def _finish(self, replica: Replica, turn: Turn, outcomes: Sequence[Sequence[store_pb2.Outcome]]) -> None:
        self._committing = False
        membership = self.membership
        late = replica.complete(outcomes)
        self._open_turn = None
        self.watcher.turned(self, turn)
        assert not turn.bad_links, turn.bad_links
        assert not turn.lost_data, turn.lost_data  # a lost disk comes back under another id
        self.send((*turn.frames, *late))
        if self.membership is not membership:
            self.network.judge(self.node_id)
        if self.exchange is not None:
            self.exchange.after_turn()
        if self._inbox:
            self.wake()
        else:
            self._plan_timer(replica)

    def _plan_timer(self, replica: Replica) -> None:
        assert self.clock is not None
        self._timer_number += 1
        number = self._timer_number
        wait_s = max(self.clock.timeline_s(replica.next_due_s() - self.clock.monotonic_s()), 1e-4)
        self._later(wait_s, lambda _replica, _storage: self.wake() if number == self._timer_number else None)


class Step(Protocol):
    """What `_later` performs."""

    def __call__(self, replica: Replica, storage: Storage, /) -> None: ...


def voters(names: Sequence[NodeId]) -> Membership:
    """The membership that a new cluster begins with."""
    return Membership(LogIndex(0), tuple(member_at(name) for name in sorted(names)))


def member_at(name: NodeId, role: MemberRole = MemberRole.VOTER, directory_id: bytes = b"") -> Member:
    """As the others know it. Regions take turns, by the number in the name."""
    region = REGIONS[int(name[1:]) % len(REGIONS)]
    return Member(name, region, f"{name}.peer:1", f"{name}.api:1", role, directory_id)
