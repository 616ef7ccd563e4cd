"""One simulated process: its own loop and clock, and the shipped engine over the shipped storage. It ends with a kill.

What is left of a node after that is in node.py.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from chaos.simulation.loop import NodeLoop
from chaos.simulation.services import Services, services_over
from chaos.simulation.snapshots import SimSnapshotFiles
from chaos.simulation.timeline import NodeClock
from chaos.simulation.turns import WatchedTurns
from chaos.simulation.writer import SimWriter
from replicator.engine.driver import RaftEngine
from replicator.engine.events import Event, Frame, LinkDown, LinkUp, Outgoing, RefusedBy
from replicator.engine.ports import EngineParts
from replicator.engine.replica import Replica
from replicator.engine.turns import Committer, Turns
from replicator.model.clock import Clock
from replicator.model.errors import ReplicatorError
from replicator.model.ids import NodeId
from replicator.model.incarnation import RUN_ID_BYTES
from replicator.model.log import TurnWrite
from replicator.model.members import Membership
from replicator.model.observe import Observer, SilentObserver
from replicator.service.ports import EnginePort, GroupPort
from replicator.storage.storage import Storage
from replicator.v1 import store_pb2

if TYPE_CHECKING:
    from chaos.simulation.node import SimNode

STORE_BYTES_MAX: Final = 1 << 30
CALLERS_S: Final = 1.0  # a caller of an engine that has stopped is answered within that

AnswerT = TypeVar("AnswerT")


class EngineFace(EnginePort, GroupPort, Protocol):
    """What callers of a node ask."""


class Process(Protocol):
    """What a node knows of its process, whichever engine runs in it."""

    storage: Storage
    clock: NodeClock
    loop: NodeLoop

    @property
    def engine(self) -> EngineFace: ...

    @property
    def replica(self) -> Replica | None:
        """The present one; None before the engine is there."""
        ...

    @property
    def uncommitted(self) -> TurnWrite | None:
        """What is being written now."""
        ...

    @property
    def services(self) -> Services:
        """Once it has begun."""
        ...

    def begin(self) -> None:
        """The engine starts on what the disk holds."""

    def deliver(self, event: Event) -> None:
        """Something arrived."""

    def call(
        self, ask: Callable[[], Awaitable[AnswerT]], answered: Callable[[AnswerT | ReplicatorError], None]
    ) -> None:
        """A caller of this process; nobody hears of it if that dies."""

    def landed(self) -> None:
        """A commit is on the disk: that of the turn in hand, or what was left when the engine stopped."""

    def shut_down(self, stopped: Callable[[], None]) -> None:
        """SIGTERM. `stopped` closes the disk."""


def opened(node: "SimNode") -> Storage:
    """The data directory of a node, taken by a process that begins."""
    storage = Storage.open(
        node.directory,
        cluster_id=node.cluster_id,
        node_id=node.node_id,
        size_max_bytes=STORE_BYTES_MAX,
        new_directory_id=lambda: node.directory_id,
        new_run_id=lambda: f"run {node.incarnation}".encode().ljust(RUN_ID_BYTES, b"."),
        joining=node.settings.joining,
    )
    assert storage.directory_id == node.directory_id
    assert storage.joining == node.settings.joining
    return storage


async def answer_of(
    ask: Callable[[], Awaitable[AnswerT]], answered: Callable[[AnswerT | ReplicatorError], None]
) -> None:
    """Tells what a call returns, or its error."""
    try:
        answer: AnswerT | ReplicatorError = await ask()
    except ReplicatorError as error:
        answer = error
    answered(answer)


class EngineProcess:
    """Implements Process, and ports.EngineTransport for its engine."""

    def __init__(self, node: "SimNode", storage: Storage, clock: NodeClock) -> None:
        self._node, self.storage, self.clock = node, storage, clock
        self.loop = NodeLoop(node.timeline, clock)  # type: ignore[abstract]  # no sockets, signals
        self._turns: WatchedTurns | None = None
        self._engine: RaftEngine | None = None
        self._services: Services | None = None
        self._arrived: deque[Event] = deque()  # in the kernel, so to speak: read while the engine has room
        self._reading: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        assert node.ways is not None
        self._files = SimSnapshotFiles(node, node.ways, storage)
        self._writer = SimWriter(node, storage, self._files)

    @property
    def engine(self) -> RaftEngine:
        """Once it has begun."""
        assert self._engine is not None, "begin first"
        return self._engine

    @property
    def services(self) -> Services:
        """Over that engine."""
        assert self._services is not None, "begin first"
        return self._services

    @property
    def replica(self) -> Replica | None:
        """Installing a snapshot replaces it."""
        return None if self._turns is None else self._turns.replica

    @property
    def uncommitted(self) -> TurnWrite | None:
        """Of this a power failure leaves all or nothing."""
        return self._writer.uncommitted

    def begin(self) -> None:
        """Builds the engine as a node's composition root does, and runs it."""
        node = self._node
        settings = replace(node.settings, directory_id=node.directory_id)
        parts = EngineParts(
            storage=self.storage,
            writer=self._writer,
            snapshots=self._files,
            clock=self.clock,
            dice=random.Random(node.dice.random()),
            observer=SilentObserver(),
            turn_loop=self._watched,
        )
        self._engine = RaftEngine(settings, parts)
        self._engine.connect(self)
        self._services = services_over(self._engine, self.storage, self.clock)
        running = self.loop.create_task(self._run(self._engine))
        running.add_done_callback(self._ended)

    def _watched(
        self,
        replica: Replica,
        committer: Committer,
        *,
        clock: Clock,
        observer: Observer,
        on_applied: Callable[[Sequence[Sequence[store_pb2.BatchOutcome]]], None],
        after_turn: Callable[[], None],
    ) -> Turns:
        """Implements ports.TurnLoop."""
        assert committer is self._writer
        self._turns = WatchedTurns(
            self._node, self._writer, replica,
            clock=clock, observer=observer, on_applied=on_applied, after_turn=after_turn,
        )  # fmt: skip
        return self._turns

    async def _run(self, engine: RaftEngine) -> None:
        await engine.start()
        await engine.wait_failed()

    def _ended(self, running: "asyncio.Task[None]") -> None:
        error = running.exception()
        if error is not None:
            self._node.failed(self, error)
        else:
            assert self._is_stopping, "an engine ends by an error, or because it is stopped"

    def call(
        self, ask: Callable[[], Awaitable[AnswerT]], answered: Callable[[AnswerT | ReplicatorError], None]
    ) -> None:
        """A caller of this process; nobody hears of it if that dies."""
        task = self.loop.create_task(answer_of(ask, answered))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def shut_down(self, stopped: Callable[[], None]) -> None:
        """SIGTERM: leadership goes to another node, callers are answered, the engine ends. then `stopped`."""
        if not self._is_stopping:
            self._is_stopping = True
            self.loop.create_task(self._shut_down(stopped))

    async def _shut_down(self, stopped: Callable[[], None]) -> None:
        """As node/lifecycle.py has it."""
        engine = self.engine
        if engine.status().role == "leader" and len(engine.membership().voters) > 1:
            with suppress(ReplicatorError):  # the others elect one by themselves
                await engine.transfer_leadership(timeout_s=engine.timing().election_timeout_max_s, why="shutdown")
        engine.refuse_proposals()
        await engine.stop()
        waiting = set(self._calls)
        if waiting:
            _, waiting = await asyncio.wait(waiting, timeout=CALLERS_S)
        assert not waiting, f"{self._node.node_id} has stopped, and {len(waiting)} callers still wait"
        stopped()

    # Links ---------------------------------------------------------------------------------------------------------

    def deliver(self, event: Event) -> None:
        """Read in the order of arrival, as long as the engine has room."""
        self._arrived.append(event)
        if self._reading is None:
            self._reading = self.loop.create_task(self._read(self.engine))

    async def _read(self, engine: RaftEngine) -> None:
        while self._arrived:
            match self._arrived.popleft():
                case LinkUp(peer, epoch, directory_id):
                    engine.link_up(peer, epoch, directory_id)
                case LinkDown(peer, epoch):
                    engine.link_down(peer, epoch)
                case Frame(peer, epoch, payload):
                    await engine.frame(peer, epoch, payload)
                case RefusedBy(peer, founder):
                    engine.note_refusal(peer, founder)
        self._reading = None

    def send(self, peer: NodeId, payload: bytes, *, for_caller: bool) -> bool:
        """Hands a frame to the network."""
        assert self.replica is not None
        epoch = self.replica.link_epoch(peer)
        assert epoch is not None, "frames leave on the link that they were meant for"
        self._node.watcher.said(self._node, (Outgoing(peer, epoch, payload, for_caller),))
        self._node.network.send(self._node.node_id, peer, epoch, payload, for_caller=for_caller)
        return True

    def drop(self, peer: NodeId, epoch: int, why: str) -> None:
        """Not in this world: whatever is said is valid."""
        raise AssertionError((peer, epoch, why))

    def condemn(self, peer: NodeId, epoch: int, why: str) -> None:
        """Not in this world: a lost disk comes back under another id."""
        raise AssertionError((peer, epoch, why))

    def set_membership(self, membership: Membership) -> None:  # noqa: ARG002  # the network asks the node
        """Links that the node would no longer accept end, others begin."""
        self._node.network.judge(self._node.node_id)

    async def fetch_snapshot(
        self, peer: NodeId, snapshot_id: str, *, target: Path, size_bytes: int, timeout_s: float
    ) -> None:
        """Raises SnapshotUnavailable."""
        await self._files.fetch_snapshot(peer, snapshot_id, target=target, size_bytes=size_bytes, timeout_s=timeout_s)

    # Turns ---------------------------------------------------------------------------------------------------------

    def landed(self) -> None:
        """A commit is on the disk: that of the turn in hand, or what was left when the engine stopped."""
        assert self._turns is not None
        if self._turns.open_turn is not None:
            self._node.watcher.stored(self._node, self._turns.open_turn)
