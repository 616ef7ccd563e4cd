"""A node of PySyncObj as it comes: its process, and what callers ask of that. The replica is in stock.py."""

import asyncio
import pickle
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from chaos.simulation.loop import NodeLoop
from chaos.simulation.node import SimNode
from chaos.simulation.process import AnswerT, EngineFace, Process, answer_of
from chaos.simulation.services import Services, services_over
from chaos.simulation.stock import DurableJournal, StockReplica
from chaos.simulation.timeline import NodeClock
from replicator.engine.events import Event, Outgoing, Turn
from replicator.engine.raft.messages import encode
from replicator.engine.replica import Replica
from replicator.model.errors import InvalidArgument, NoLeader, ReplicaBehind, ReplicatorError
from replicator.model.ids import LogIndex, NodeId, Region
from replicator.model.log import TurnWrite
from replicator.model.members import MemberChange, Membership
from replicator.model.status import EngineStatus
from replicator.storage.storage import Storage
from replicator.v1 import raft_pb2, store_pb2

TICKS_PER_HEARTBEAT = 4
FOUNDER = b"stock"  # it has no entry that names one


class StockEngine(EngineFace):
    """What stock can be asked: writes and transfers. It has no linearizable reads, and makes no claim of staleness."""

    def __init__(self, replica: StockReplica) -> None:
        self._replica = replica

    async def propose(self, command: bytes, *, timeout_s: float) -> store_pb2.BatchOutcome:  # noqa: ARG002
        """Stock knows no deadlines, and of some calls it says nothing ever."""
        answer: asyncio.Future[store_pb2.BatchOutcome] = asyncio.get_running_loop().create_future()
        self._replica.offer(command, answer.set_result)
        return await answer

    async def read_index(self, *, timeout_s: float) -> LogIndex:  # noqa: ARG002
        """Raises NoLeader."""
        raise NoLeader("stock has no linearizable reads")

    async def wait_applied(self, index: LogIndex, *, timeout_s: float) -> None:  # noqa: ARG002
        """Now or not at all: stock knows no causal reads."""
        if self._replica.applied_index < index:
            raise ReplicaBehind("stock waits for nothing")

    async def wait_stored(self, *, timeout_s: float) -> None:
        """Every call of its journal is durable."""

    async def wait_fresh(self, max_staleness_ms: float, *, timeout_s: float) -> None:  # noqa: ARG002
        """Raises ReplicaBehind."""
        raise ReplicaBehind("stock knows nothing of its age")

    def staleness_ms(self) -> None:
        """Stock makes no claim."""

    @property
    def applied_index(self) -> LogIndex:
        """Of the store."""
        return LogIndex(self._replica.applied_index)

    @property
    def founder(self) -> bytes:
        """The same everywhere."""
        return FOUNDER

    @property
    def known_commit_index(self) -> LogIndex:
        """As stock says."""
        return LogIndex(self._replica.commit_index)

    def listen_applied(self, heard: Callable[[], None]) -> None:
        """Nobody watches it."""
        raise NotImplementedError

    def status(self) -> EngineStatus:
        """Nobody asks for it."""
        raise NotImplementedError

    def membership(self) -> Membership:
        """It never changes."""
        membership: Membership = self._replica.membership
        return membership

    async def change_members(self, change: MemberChange, *, timeout_s: float) -> Membership:
        """Raises InvalidArgument."""
        raise InvalidArgument(f"stock has no change of members: {change}, within {timeout_s} s")

    async def transfer_leadership(
        self, target: NodeId | None = None, region: Region | None = None, *, timeout_s: float
    ) -> NodeId:
        """To somebody given; nobody is told how it ends. Raises InvalidArgument."""
        if target is None:
            raise InvalidArgument(f"stock must be told to whom: region {region}, within {timeout_s} s")
        self._replica.hand_over(target)
        return target


class StockProcess:
    """Implements process.Process."""

    def __init__(self, node: "StockNode", storage: Storage, clock: NodeClock) -> None:
        self._node, self.storage, self.clock = node, storage, clock
        self.loop = NodeLoop(node.timeline, clock)  # type: ignore[abstract]  # no sockets, signals
        self._stock: StockReplica | None = None
        self._inbox: list[Event] = []

    @property
    def engine(self) -> StockEngine:
        """Once it has begun."""
        assert self._stock is not None, "begin first"
        return StockEngine(self._stock)

    @property
    def services(self) -> Services:
        """The same ones as over the shipped engine."""
        return services_over(self.engine, self.storage, self.clock)

    @property
    def replica(self) -> Replica | None:
        """Stock's, which answers to the same questions."""
        return self._stock  # type: ignore[return-value]  # as far as promises and faults ask

    @property
    def uncommitted(self) -> TurnWrite | None:
        """Its disk is perfect."""
        return None

    def begin(self) -> None:
        """Its journal is part of the disk."""
        self._stock = StockReplica(self._node, self.storage, self._node.journal, self.clock)
        self.loop.call_soon(self._tick, self._stock)

    def deliver(self, event: Event) -> None:
        """Waits for the next tick."""
        self._inbox.append(event)

    def call(
        self, ask: Callable[[], Awaitable[AnswerT]], answered: Callable[[AnswerT | ReplicatorError], None]
    ) -> None:
        """A caller of this process."""
        self.loop.create_task(answer_of(ask, answered))

    def landed(self) -> None:
        """Nobody is told."""

    def shut_down(self, stopped: Callable[[], None]) -> None:
        """It has nothing to end."""
        stopped()

    def _tick(self, replica: StockReplica) -> None:
        node = self._node
        events, self._inbox = self._inbox, []
        replica.take(events)
        node.watcher.turned(node, Turn(TurnWrite(), (), ()))
        frames, replica.outbox = replica.outbox, []
        node.watcher.said(node, [told for frame in frames if (told := _told(frame)) is not None])
        for frame in frames:
            node.network.send(node.node_id, frame.peer, frame.epoch, frame.payload)
        self.loop.call_later(node.settings.timing.heartbeat_s / TICKS_PER_HEARTBEAT, self._tick, replica)


@dataclass(slots=True)
class StockNode(SimNode):
    """A node whose process is StockReplica and a store; its journal is part of its disk."""

    journal: DurableJournal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = DurableJournal(self.disk)

    @property
    def membership(self) -> Membership:
        """It never changes."""
        return self.settings.membership

    @property
    def peers(self) -> Sequence[NodeId]:
        """Those of the configuration: stock's membership is fixed here."""
        return [member.node_id for member in self.settings.membership.members if member.node_id != self.node_id]

    def _new_process(self, storage: Storage, clock: NodeClock) -> Process:
        return StockProcess(self, storage, clock)

    def lose_power(self) -> None:
        """No worse than a crash: its disk is perfect."""
        self.crash()


def _told(frame: Outgoing) -> Outgoing | None:
    """A vote in the words of raft.proto, for the promises that look at votes."""
    said = pickle.loads(frame.payload)
    match said["type"]:
        case "response_vote":
            message = raft_pb2.RaftMessage(vote_reply=raft_pb2.VoteReply(term=said["term"]))
        case "request_vote":
            message = raft_pb2.RaftMessage(request_vote=raft_pb2.RequestVote(term=said["term"]))
        case _:
            return None
    return frame._replace(payload=encode(message))
