"""One simulated node: the shipped turn loop, replica and storage in virtual time, crashes at any point of a turn."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from chaos.simulation import power
from chaos.simulation.disk import DiskRecord
from chaos.simulation.loop import NodeLoop
from chaos.simulation.network import Network
from chaos.simulation.snapshots import SimSnapshotFiles, SnapshotWays
from chaos.simulation.timeline import WALL_SKEW_MS_MAX, NodeClock, Timeline
from chaos.simulation.turns import WatchedTurns
from chaos.simulation.watcher import Watcher
from chaos.simulation.writer import SimWriter
from replicator.engine.calling.calls import Calls
from replicator.engine.calling.waits import AppliedWaits
from replicator.engine.events import Event, Outgoing
from replicator.engine.leading.request_kinds import AnswerT, RequestKind, RequestT
from replicator.engine.replica import Replica
from replicator.engine.settings import EngineSettings
from replicator.engine.snapshots.exchange import Snapshots
from replicator.engine.snapshots.providing import SnapshotProviding
from replicator.engine.snapshots.storing import SnapshotStoring
from replicator.engine.snapshots.taking_over import take_over
from replicator.model.causal_token import token_scope
from replicator.model.errors import ReplicatorError, StorageFailed
from replicator.model.ids import ClusterId, LogIndex, NodeId, Region
from replicator.model.incarnation import RUN_ID_BYTES
from replicator.model.log import SnapshotManifest, TurnWrite
from replicator.model.members import DIRECTORY_ID_BYTES, Member, MemberRole, Membership
from replicator.model.observe import SilentObserver
from replicator.storage.storage import Storage

STORE_BYTES_MAX = 1 << 30
CLUSTER = ClusterId("simulated")
TOKEN_SCOPE = token_scope(CLUSTER.encode())  # all tokens are of one group: the world has no other
REGIONS = Region("east"), Region("west")

Step = Callable[[Replica, Storage], object]  # of a process


@dataclass(slots=True)
class SimNode:
    """A data directory that survives crashes, and a process that does not.

    commit_s: what a commit takes, about. flushes: how likely one follows a turn, before or after its commit. drift_ppm:
    of its clocks. calendar_error: how many times worse its calendar is than operators are told to keep it. generation:
    how many nodes had this name before. cuts: how often the power failed at which step of a commit or an installation.
    loops: of all processes that ever ran: nothing of a dead one is cleaned up before the world ends. is_gone: never
    starts again. slow_until_s, slow_s: until then a commit takes that. full_until_s: until then it finds no room.
    sync_fails: the next commit does, and ends the process. power_fails: during the next one.
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
    storage: Storage | None = None
    clock: NodeClock | None = None
    ways: SnapshotWays | None = None
    disk: DiskRecord = field(default_factory=DiskRecord)
    slow_until_s: float = 0.0
    slow_s: float = 0.0
    full_until_s: float = 0.0
    sync_fails: bool = False
    power_fails: bool = False
    loop: NodeLoop | None = None
    turns: WatchedTurns | None = None
    calls: Calls | None = None
    waits: AppliedWaits | None = None
    snapshots: Snapshots | None = None
    _writer: SimWriter | None = None
    _paused_until_s: float = 0.0
    _synced: power.Image | None = None  # files that are surely on the disk, kept only if commits are not synced
    _judged_membership: Membership | None = None

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
    def replica(self) -> Replica | None:
        """The present one; None if no process runs."""
        return None if self.turns is None else self.turns.replica

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
        self._paused_until_s = 0.0
        self.loop = NodeLoop(self.timeline, self.clock)  # type: ignore[abstract]  # no sockets, signals, threads
        self.loops.append(self.loop)
        self._begin(self.storage, self.clock, self.loop)
        self.network.start(self.node_id)

    def _begin(self, storage: Storage, clock: NodeClock, loop: NodeLoop) -> None:
        replica = Replica(
            replace(self.settings, directory_id=self.directory_id),
            log=storage,
            applied_index=storage.applied_position.applied_index,
            clock=clock,
            dice=self._own_dice(),
            observer=SilentObserver(),
        )
        self._writer = SimWriter(self, storage)
        self.turns = WatchedTurns(self, replica, self._writer, clock=clock, after_turn=self._after_turn)
        self.calls, self.waits = Calls(self.turns, clock), AppliedWaits(replica.applied_index)
        self.turns.connect(self)
        assert self.ways is not None
        files, snapshot_dice = SimSnapshotFiles(self, self.ways, storage), self._own_dice()
        self.snapshots = Snapshots(
            files,
            self.turns,
            install=self._install,
            storing=SnapshotStoring(clock, snapshot_dice),
            can_make=SnapshotProviding(clock, snapshot_dice),
        )
        self.snapshots.connect(files)
        running = loop.create_task(self.turns.run())
        running.add_done_callback(lambda ended: self._ended(loop, ended))

    def _own_dice(self) -> random.Random:
        return random.Random(self.dice.random())

    async def _install(self, prepared: Path, manifest: SnapshotManifest) -> bool:
        turns, storage, waits, writer = self.turns, self.storage, self.waits, self._writer
        assert turns is not None
        assert storage is not None
        assert waits is not None
        assert writer is not None

        async def install(prepared: Path) -> None:
            await writer.install(prepared, manifest)

        return await take_over(prepared, manifest, turns=turns, storage=storage, waits=waits, install=install)

    def _ended(self, loop: NodeLoop, ended: "asyncio.Task[None]") -> None:
        """A turn loop ends by an error alone; the process ends with it."""
        error = ended.exception()
        assert error is not None, "a simulated node is never stopped in order"
        if isinstance(error, StorageFailed) and self.sync_fails and self.storage is not None:
            self._die(self.storage)
        else:
            loop.fail(error)

    def crash(self) -> None:
        """SIGKILL: what was committed stays, also if nobody was told."""
        if self.storage is not None:
            self._die(self.storage)

    def lose_power(self) -> None:
        """What was not synced is lost; of a commit in progress, all or nothing is left, whatever was written of it."""
        storage, write = self.storage, None if self._writer is None else self._writer.uncommitted
        if storage is None:
            return
        if self._synced is not None:
            power.restore(storage, self._synced)
        else:
            left = power.interrupted(storage, write, self.dice)
            self.disk.flushed(left.position)
            if write is not None:
                self.cuts[f"commit: {left.step}"] += 1
                self.landed(write, is_durable=left.turn)
        self._die(storage)
        power.lose_reader_table(storage, self.dice)

    def lose_power_installing(self, prepared_dir: Path, manifest: SnapshotManifest) -> None:
        """While a snapshot takes the place of everything: it has, or nothing has changed. Raises SnapshotRefused."""
        assert self.storage is not None
        storage = self.storage
        left = power.interrupted_install(storage, prepared_dir, self.dice)
        self.cuts[f"install: {left.step}"] += 1
        if left.is_done:
            self.disk.replaced(manifest, left.position)
        self._die(storage)
        power.lose_reader_table(storage, self.dice)

    def _die(self, storage: Storage) -> None:
        storage.close(flushed=False)
        if self.loop is not None:
            self.loop.die()
        self.storage = self.loop = None
        self._end_process()
        self.network.stop(self.node_id)

    def _end_process(self) -> None:
        self.turns = self.calls = self.waits = self.snapshots = self._writer = None

    def landed(self, write: TurnWrite, *, is_durable: bool) -> None:
        """A commit has ended, one way or the other."""
        assert self.turns is not None
        assert self.turns.open_turn is not None
        if is_durable:
            self.disk.committed(write)
            self.watcher.stored(self, self.turns.open_turn)

    def pause(self, for_s: float) -> None:
        """SIGSTOP, and SIGCONT after that: the world goes on meanwhile, and what it sends waits."""
        self._paused_until_s = max(self._paused_until_s, self.timeline.now_s + for_s)
        if self.loop is not None:
            self.loop.freeze()

        def goes_on() -> None:
            if self.timeline.now_s >= self._paused_until_s:
                self.resume()

        self.timeline.at(self._paused_until_s, goes_on)

    def resume(self) -> None:
        """The process goes on, wherever it was."""
        self._paused_until_s = self.timeline.now_s
        if self.loop is not None:
            self.loop.thaw()

    def deliver(self, event: Event) -> None:
        """Something arrived for this node."""
        if self.turns is not None:
            self.turns.post(event)

    def wake(self) -> None:
        """There is something to do."""
        if self.turns is not None:
            self.turns.wake()

    def later(self, delay_s: float, step: Step) -> None:
        """Performs a step of this process, once it runs and unless it has died."""

        def due() -> None:
            assert self.replica is not None
            assert self.storage is not None
            step(self.replica, self.storage)

        if self.loop is not None:
            self.loop.call_later(delay_s, due)

    def ask(
        self,
        kind: RequestKind[RequestT, AnswerT],
        request: RequestT,
        timeout_s: float,
        answered: Callable[[AnswerT | ReplicatorError], None],
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        """A caller of this node asks the leader. Nobody hears of it if the process dies. heard: once it runs."""
        calls, loop = self.calls, self.loop
        if calls is None or loop is None:
            return

        async def call() -> None:
            heard()
            try:
                answer: AnswerT | ReplicatorError = await calls.ask(
                    kind, request, timeout_s=timeout_s, check=lambda: None
                )
            except ReplicatorError as error:
                answer = error
            answered(answer)

        loop.create_task(call())

    def when_applied(self, index: LogIndex, timeout_s: float, reached: Callable[[], None]) -> None:
        """Once this node holds `index`. Nobody hears of it if it does not in time, or if the process dies."""
        waits, loop = self.waits, self.loop
        if waits is None or loop is None:
            return

        async def wait() -> None:
            with contextlib.suppress(ReplicatorError):
                await waits.wait(index, timeout_s=timeout_s)
                reached()

        loop.create_task(wait())

    # engine.turns.FrameSender --------------------------------------------------------------------------------------

    def send(self, peer: NodeId, payload: bytes, *, for_caller: bool) -> bool:
        """Hands a frame to the network."""
        assert self.replica is not None
        epoch = self.replica.link_epoch(peer)
        assert epoch is not None, "frames leave on the link that they were meant for"
        self.watcher.said(self, (Outgoing(peer, epoch, payload, for_caller),))
        self.network.send(self.node_id, peer, epoch, payload, for_caller=for_caller)
        return True

    def drop(self, peer: NodeId, epoch: int, why: str) -> None:
        """Not in this world: whatever is said is valid."""
        raise AssertionError((peer, epoch, why))

    def condemn(self, peer: NodeId, epoch: int, why: str) -> None:
        """Not in this world: a lost disk comes back under another id."""
        raise AssertionError((peer, epoch, why))

    # ---------------------------------------------------------------------------------------------------------------

    def flush(self, storage: Storage) -> None:
        """The state follows the log, now and then."""
        if self.timeline.now_s < self.full_until_s:
            return
        storage.flush()
        self.disk.flushed(storage.position)

    def _after_turn(self) -> None:
        assert self.turns is not None
        turn, self.turns.open_turn = self.turns.open_turn, None
        assert turn is not None
        self.watcher.turned(self, turn)
        if self.membership is not self._judged_membership:
            self._judged_membership = self.membership
            self.network.judge(self.node_id)
        if self.snapshots is not None:
            self.snapshots.after_turn()
        if self.calls is not None:
            self.calls.after_turn()


def voters(names: Sequence[NodeId]) -> Membership:
    """The membership that a new cluster begins with."""
    return Membership(LogIndex(0), tuple(member_at(name) for name in sorted(names)))


def member_at(name: NodeId, role: MemberRole = MemberRole.VOTER, directory_id: bytes = b"") -> Member:
    """As the others know it. Regions take turns, by the number in the name."""
    region = REGIONS[int(name[1:]) % len(REGIONS)]
    return Member(name, region, f"{name}.peer:1", f"{name}.api:1", role, directory_id)
