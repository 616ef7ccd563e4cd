"""PySyncObj 0.3.17 as it comes, in the same world: its own sender, message handling and election, no guard.

Its settings are its defaults, but for the timers. It is given more than it has: a journal that is durable
with every call, an apply that is exactly-once across restarts, a disk that is never slow, full or broken. So what goes
wrong is the protocol's doing. It has no linearizable reads and no staleness claims; nobody asks it for them.
"""

import contextlib
import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, cast

import pysyncobj.pickle
from pysyncobj import FAIL_REASON, SyncObjConf
from pysyncobj.journal import MemoryJournal
from pysyncobj.transport import Transport

from chaos.simulation.disk import DiskRecord
from chaos.simulation.node import SimNode
from replicator.engine.events import Event, Frame, LinkDown, LinkUp, Outgoing, Turn
from replicator.engine.stock.graft import ROLES, Peer, _private_copy
from replicator.machine.codec import NO_OP, encode_entry
from replicator.model.clock import Clock
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.storage.storage import Storage
from replicator.v1 import store_pb2

_NEVER: Final = 10**9
TICKS_PER_HEARTBEAT: Final = 4

Sink = Callable[[store_pb2.BatchOutcome], None]


class DurableJournal(MemoryJournal):  # type: ignore[misc]  # pysyncobj has no types
    """Stock's journal in memory, which outlives its process; `disk` says what it holds."""

    def __init__(self, disk: DiskRecord) -> None:
        super().__init__()
        self._disk, self._commit_index = disk, 1

    def add(self, command: bytes, idx: int, term: int) -> None:
        super().add(command, idx, term)
        self._disk.terms.append(term)

    def clear(self) -> None:
        super().clear()
        self._disk.terms.clear()

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803
        super().deleteEntriesFrom(entryFrom)
        del self._disk.terms[entryFrom:]

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803
        super().setCurrentTerm(term, votedForNodeId)
        vote = NodeId(votedForNodeId) if votedForNodeId is not None else None
        self._disk.state = HardState(Term(term), vote, LogIndex(self._commit_index))

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        self._commit_index = raftCommitIndex

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        return self._commit_index


class _Wire(Transport):  # type: ignore[misc]  # pysyncobj has no types
    ready = True

    def __init__(self, send: Callable[[NodeId, dict[str, Any]], None]) -> None:
        super().__init__(None, None, [])
        self._send = send

    def send(self, node: Peer, message: dict[str, Any]) -> bool:
        self._send(NodeId(node.id), message)
        return True

    def destroy(self) -> None: ...


class StockReplica:
    """Plays all the parts of `replicator.engine.replica.Replica` that clients, faults and promises talk to."""

    def __init__(self, node: SimNode, storage: Storage, journal: DurableJournal, clock: Clock) -> None:
        self._node, self._storage, self._journal, self._clock = node, storage, journal, clock
        self._peers = {peer: Peer(peer) for peer in sorted(node.peers)}
        self._links: dict[NodeId, int] = {}
        self.outbox: list[Outgoing] = []
        self.settings = node.settings
        self.membership = replace(node.settings.membership, founder=node.directory_id)  # stock has no such entry
        self.graft = self.group = self.proposals = self.forwards = self.reads = self.transfers = self.journal = self
        self.leader_side = self.log_time = self
        self.depth = 0  # what stock forgets to answer is not held against it
        module: Any = _private_copy(clock, random.Random(node.dice.random()), cast("Any", journal))
        module.pickle = pysyncobj.pickle
        apply = self._apply

        class Stock(module.SyncObj):  # type: ignore[misc]  # pysyncobj has no types
            def _SyncObj__doApplyCommand(self, command: bytes) -> store_pb2.BatchOutcome | None:  # noqa: N802
                """The application: what SyncObj calls methods for."""
                return apply(command)

        timing = node.settings.timing
        self._wire = _Wire(self._send)
        self._engine: Any = Stock(
            Peer(node.node_id),
            list(self._peers.values()),
            SyncObjConf(
                autoTick=False,
                raftMinTimeout=timing.election_timeout_min_s,
                raftMaxTimeout=timing.election_timeout_max_s,
                appendEntriesPeriod=timing.heartbeat_s,
                commandsWaitLeader=False,
                logCompactionMinEntries=_NEVER,
                logCompactionMinTime=_NEVER,
            ),
            transport=self._wire,
        )
        self._engine._SyncObj__raftLastApplied = storage.applied_position.applied_index

    def take(self, events: list[Event]) -> None:
        """What arrived, and one tick."""
        for event in events:
            match event:
                case LinkUp(peer, epoch):
                    self._links[peer] = epoch
                    self._wire._onNodeConnected(self._peers[peer])
                case LinkDown(peer, epoch) if self._links.get(peer) == epoch:
                    del self._links[peer]
                    self._wire._onNodeDisconnected(self._peers[peer])
                case Frame(peer, _, payload):
                    with contextlib.suppress(TypeError):  # a chunk without its beginning (fault 7): logged, and lost
                        self._wire._onMessageReceived(self._peers[peer], pickle.loads(payload))
        self._engine.doTick(0.0)

    def _send(self, peer: NodeId, message: dict[str, Any]) -> None:
        if peer in self._links:
            self.outbox.append(Outgoing(peer, self._links[peer], pickle.dumps(message)))

    def _apply(self, payload: bytes) -> store_pb2.BatchOutcome | None:
        index = self._engine.raftLastApplied + 1
        _, _, term = self._journal[index - self._journal[0][1]]
        entry = Entry(payload, LogIndex(index), Term(term))
        held = self._storage.hard_state()
        state = HardState(max(held.term, entry.term), None, entry.index)
        turn = Turn(TurnWrite(None, (entry,), state, (entry,), None), (), ())
        outcomes = self._storage.commit(turn.write)
        self._node.watcher.applied(self._node, turn)
        self._node.watcher.stored(self._node, turn)
        return outcomes[0][0] if payload[0] != NO_OP else None

    # What others ask -----------------------------------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        return bool(self._engine._isLeader())

    @property
    def role(self) -> str:
        return ROLES[self._engine._SyncObj__raftState]

    @property
    def leader(self) -> NodeId | None:
        node = self._engine._getLeader()
        return NodeId(node.id) if node is not None else None

    @property
    def leader_in_sight(self) -> NodeId | None:
        """The node that was heard last in this term."""
        return self.leader

    @property
    def successor(self) -> None:
        """Stock tells nobody whom it hands over to."""

    def link_epoch(self, peer: NodeId) -> int | None:
        return self._links.get(peer)

    @property
    def term(self) -> int:
        return int(self._engine.raftCurrentTerm)

    @property
    def commit_index(self) -> int:
        return int(self._engine.raftCommitIndex)

    @property
    def applied_index(self) -> int:
        return self._storage.applied_position.applied_index

    @property
    def last_index(self) -> int:
        return int(self._journal[-1][1]) if len(self._journal) else 0

    def now_ms(self) -> int:
        """Stock has no log time: each entry carries the calendar of the node that was asked."""
        return self._clock.wall_ms()

    def staleness_s(self) -> None:
        """Stock makes no claim."""

    def offer(self, command: bytes, sink: Sink) -> None:
        """SyncObj's own queue, and its own way to the leader; it knows no deadlines."""

        def answered(result: store_pb2.BatchOutcome | None, reason: int) -> None:
            if reason == FAIL_REASON.SUCCESS and result is not None:
                sink(result)

        self._engine._applyCommand(encode_entry(self._clock.wall_ms(), [command]), answered)

    def hand_over(self, target: NodeId) -> None:
        """A transfer of leadership, to somebody given."""
        self._engine.transferLeadership(self._peers[target])
