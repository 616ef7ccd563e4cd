"""One simulated node: a place that survives a kill, with a disk, a machine's clock and its faults; and its process.

The process is in process.py. A kill or a power failure ends it at any point of a turn.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chaos.simulation import power
from chaos.simulation.disk import DiskRecord
from chaos.simulation.loop import NodeLoop
from chaos.simulation.network import Network
from chaos.simulation.process import AnswerT, EngineProcess, Process, opened
from chaos.simulation.snapshots import SnapshotWays
from chaos.simulation.timeline import WALL_SKEW_MS_MAX, NodeClock, Timeline
from chaos.simulation.watcher import Watcher
from replicator.engine.events import Event
from replicator.engine.replica import Replica
from replicator.engine.settings import EngineSettings
from replicator.model.errors import ReplicatorError, StorageFailed
from replicator.model.ids import ClusterId, LogIndex, NodeId, Region
from replicator.model.log import SnapshotManifest, TurnWrite
from replicator.model.members import DIRECTORY_ID_BYTES, Member, MemberRole, Membership
from replicator.storage.storage import Storage

CLUSTER: Final = ClusterId("simulated")
REGIONS: Final = Region("east"), Region("west")


@dataclass(slots=True)
class SimNode:
    """A data directory that survives crashes, and a process that does not.

    commit_s: what a commit takes, about. flushes: how likely one follows a turn, before or after its commit. drift_ppm:
    of its clocks. calendar_error: how many times worse its calendar is than operators are told to keep it. generation:
    how many nodes had this name before. cuts: how often the power failed at which step of a commit or an installation.
    loops: of all processes that ever ran: nothing of a dead one is cleaned up before the world ends. is_gone: never
    starts again. slow_until_s, slow_s: until then a commit takes that. full_until_s: until then it finds no room.
    sync_fails: the next commit does, and ends the process. power_fails: during the next one.
    process: None if it is down.
    """

    settings: EngineSettings
    directory: Path
    timeline: Timeline
    network: Network
    dice: random.Random
    watcher: Watcher
    commit_s: float
    flushes: float
    drift_ppm: float = 0.0
    calendar_error: int = 1
    generation: int = 0
    cuts: Counter[str] = field(default_factory=Counter)
    loops: list[NodeLoop] = field(default_factory=list)
    is_gone: bool = False
    incarnation: int = 0
    ways: SnapshotWays | None = None
    disk: DiskRecord = field(default_factory=DiskRecord)
    slow_until_s: float = 0.0
    slow_s: float = 0.0
    full_until_s: float = 0.0
    sync_fails: bool = False
    power_fails: bool = False
    process: Process | None = None
    _paused_until_s: float = 0.0
    _synced: power.Image | None = None  # files that are surely on the disk, kept only if commits are not synced

    @property
    def node_id(self) -> NodeId:
        """Name."""
        return self.settings.node_id

    @property
    def cluster_id(self) -> ClusterId:
        """The same everywhere."""
        return CLUSTER

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
    def replica(self) -> Replica | None:
        """The present one; None if no process runs."""
        return None if self.process is None else self.process.replica

    @property
    def storage(self) -> Storage | None:
        """Open while a process runs."""
        return None if self.process is None else self.process.storage

    @property
    def clock(self) -> NodeClock | None:
        """Of the process."""
        return None if self.process is None else self.process.clock

    # A life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The process starts on what its disk holds, if it is still there."""
        assert self.process is None, "already running"
        if self.is_gone:
            return
        self.incarnation += 1
        storage = opened(self)
        self._synced = None if power.is_synced(storage) else power.image(storage)
        self._paused_until_s = 0.0
        process = self.process = self._new_process(storage, self._new_clock())
        self.watcher.started(self)
        self.loops.append(process.loop)
        process.begin()
        self.network.start(self.node_id)

    def _new_process(self, storage: Storage, clock: NodeClock) -> Process:
        return EngineProcess(self, storage, clock)

    def _new_clock(self) -> NodeClock:
        return NodeClock(
            self.timeline,
            offset_s=self.dice.random() * 1e5,
            wall_skew_ms=self.wall_skew_ms(self.dice),
            drift_ppm=self.drift_ppm,
        )

    def wall_skew_ms(self, dice: random.Random) -> int:
        """How wrong its calendar is when somebody has set it."""
        return dice.randint(-WALL_SKEW_MS_MAX, WALL_SKEW_MS_MAX) * self.calendar_error

    def crash(self) -> None:
        """SIGKILL: what was committed stays, also if nobody was told."""
        if self.process is not None:
            self._die(self.process)

    def failed(self, process: Process, error: BaseException) -> None:
        """An engine has ended by an error: its process ends with it. Only a disk may be at fault."""
        if isinstance(error, StorageFailed) and self.sync_fails:
            self._die(process)
        else:
            process.loop.fail(error)

    def shut_down(self, stopped: Callable[[], None]) -> None:
        """SIGTERM. stopped: what happens after that; nothing, if the process is killed meanwhile."""
        process = self.process
        if process is None:
            return

        def closed() -> None:
            self.watcher.stopped(self)
            self.disk.flushed(process.storage.position)
            process.storage.close(flushed=not self.has_no_room)
            self._gone(process)
            stopped()

        process.shut_down(closed)

    def lose_power(self) -> None:
        """What was not synced is lost; of a commit in progress, all or nothing is left, whatever was written of it."""
        process = self.process
        if process is None:
            return
        storage, write = process.storage, process.uncommitted
        if self._synced is not None:
            power.restore(storage, self._synced)
        else:
            left = power.interrupted(storage, write, self.dice)
            self.disk.flushed(left.position)
            if write is not None:
                self.cuts[f"commit: {left.step}"] += 1
                if left.turn:
                    self.landed(write)
        self._die(process)
        power.lose_reader_table(storage, self.dice)

    def lose_power_installing(self, prepared_dir: Path, manifest: SnapshotManifest) -> None:
        """While a snapshot takes the place of everything: it has, or nothing has changed. Raises SnapshotRefused."""
        process = self.process
        assert process is not None
        left = power.interrupted_install(process.storage, prepared_dir, self.dice)
        self.cuts[f"install: {left.step}"] += 1
        if left.is_done:
            self.disk.replaced(manifest, left.position)
        self._die(process)
        power.lose_reader_table(process.storage, self.dice)

    def _die(self, process: Process) -> None:
        process.storage.close(flushed=False)
        self._gone(process)

    def _gone(self, process: Process) -> None:
        process.loop.die()
        self.process = None
        self.network.stop(self.node_id)

    def pause(self, for_s: float) -> None:
        """SIGSTOP, and SIGCONT after that: the world goes on meanwhile, and what it sends waits."""
        self._paused_until_s = max(self._paused_until_s, self.timeline.now_s + for_s)
        if self.process is not None:
            self.process.loop.freeze()

        def goes_on() -> None:
            if self.timeline.now_s >= self._paused_until_s:
                self.resume()

        self.timeline.at(self._paused_until_s, goes_on)

    def resume(self) -> None:
        """The process goes on, wherever it was."""
        self._paused_until_s = self.timeline.now_s
        if self.process is not None:
            self.process.loop.thaw()

    # What reaches it -----------------------------------------------------------------------------------------------

    def deliver(self, event: Event) -> None:
        """Something arrived for this node."""
        if self.process is not None:
            self.process.deliver(event)

    def call(
        self,
        ask: Callable[[Process], Awaitable[AnswerT]],
        answered: Callable[[AnswerT | ReplicatorError], None],
    ) -> None:
        """A caller asks this node. Nobody hears of it if no process runs, or if that dies."""
        process = self.process
        if process is not None:
            process.call(lambda: ask(process), answered)

    # What reaches its disk -----------------------------------------------------------------------------------------

    @property
    def has_no_room(self) -> bool:
        """The disk is full."""
        return self.timeline.now_s < self.full_until_s

    def landed(self, write: TurnWrite) -> None:
        """A commit is durable, whether or not anybody will be told."""
        assert self.process is not None
        self.disk.committed(write)
        self.process.landed()

    def flush(self, storage: Storage) -> None:
        """The state follows the log, now and then."""
        if self.has_no_room:
            return
        storage.flush()
        self.disk.flushed(storage.position)


def voters(names: Sequence[NodeId]) -> Membership:
    """The membership that a new cluster begins with."""
    return Membership(LogIndex(0), tuple(member_at(name) for name in sorted(names)))


def member_at(name: NodeId, role: MemberRole = MemberRole.VOTER, directory_id: bytes = b"") -> Member:
    """As the others know it. Regions take turns, by the number in the name."""
    region = REGIONS[int(name[1:]) % len(REGIONS)]
    return Member(name, region, f"{name}.peer:1", f"{name}.api:1", role, directory_id)
