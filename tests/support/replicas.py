"""Replicas driven by hand: a clock that moves when told, a disk that is a list, links that carry what the test lets by.

A `HandNode` keeps the contract of `replicator.engine.replica`: a turn's write is on disk before its frames are seen.
"""

import copy
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from replicator.config.timing import RaftTiming
from replicator.engine.events import Event, Frame, LinkDown, LinkUp, Outgoing, Turn
from replicator.engine.raft.messages import decode, encode
from replicator.engine.raft.pump import COMMIT_NOTICE_S
from replicator.engine.replica import Replica
from replicator.engine.settings import EngineSettings
from replicator.machine.apply import apply_entry
from replicator.machine.group_entries import membership_of
from replicator.model.errors import CorruptData, ReplicatorError
from replicator.model.ids import LogIndex, NodeId, Region, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.model.members import DIRECTORY_ID_BYTES, MemberChange, Membership
from replicator.model.observe import Signal, SilentObserver
from replicator.storage.log.raft_log import LogBounds
from replicator.storage.log.turn_format import INITIAL_HARD_STATE
from replicator.v1 import raft_pb2, store_pb2
from tests.support.commands import put
from tests.support.members import SECRET, founded, voters
from tests.support.memory_store import MemoryStore

LAN = RaftTiming(heartbeat_s=0.05, election_timeout_min_s=0.3, election_timeout_max_s=0.6)
NAMES = tuple(NodeId(f"n{number}") for number in range(1, 8))
NO_LOSS = frozenset[tuple[NodeId, NodeId]]()


def hand_settings(name: NodeId, membership: Membership, **others: Any) -> EngineSettings:
    """Of a node that is driven by hand."""
    defaults = EngineSettings(
        cluster_id="c", node_id=name, membership=membership, timing=LAN, new_secret=lambda: SECRET
    )
    return replace(defaults, **others)


def own_directory(name: NodeId, is_founded: bool) -> dict[str, Any]:
    """Who founds a group is known by its directory. Else nodes have none, so that leaders have none to note."""
    return {} if is_founded else {"directory_id": name.encode().ljust(DIRECTORY_ID_BYTES, b".")}


class HandClock:
    """Implements model.clock.Clock; stands still until told."""

    def __init__(self, start_s: float = 1000.0) -> None:
        self.now_s = start_s

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + int(self.now_s * 1000)

    def forward(self, by_s: float) -> None:
        self.now_s += by_s


@dataclass
class HandDisk:
    """Implements journal.LogReader. What is committed here outlives the replica; checks what real storage checks.

    store: with all that is applied. stored: as of the last commit.
    """

    entries: list[Entry] = field(default_factory=list)
    state: HardState = INITIAL_HARD_STATE
    store: MemoryStore = field(default_factory=MemoryStore)
    stored: MemoryStore = field(default_factory=MemoryStore)

    def load_log(self) -> LogBounds:
        if not self.entries:
            return LogBounds(LogIndex(0), LogIndex(0), Term(0))
        return LogBounds(self.entries[0].index, self.entries[-1].index, self.entries[-1].term)

    def read_entries(self, first: LogIndex, *, count_max: int, bytes_max: int) -> list[Entry]:
        start = first - self.entries[0].index if self.entries else -1
        if not 0 <= start < len(self.entries):
            raise CorruptData(f"no entry {first}")
        found: list[Entry] = []
        for entry in self.entries[start : start + count_max]:
            found.append(entry)
            if sum(len(held.payload) for held in found) >= bytes_max:
                break
        return found

    def hard_state(self) -> HardState:
        return self.state

    def membership(self) -> Membership | None:
        stored = self.store.membership
        return None if stored is None else membership_of(stored)

    def timing(self) -> store_pb2.Timing | None:
        return self.store.timing

    def log_time_ms(self) -> int:
        return self.store.time_ms

    def digest_at(self, index: LogIndex) -> bytes | None:
        return self.store.digests.get(index)

    def stored_index(self) -> LogIndex:
        return self.store.applied_index

    def log_bytes(self) -> int:
        return sum(len(entry.payload) for entry in self.entries)

    def restarted(self) -> None:
        """What was applied in memory only is gone."""
        self.store = copy.deepcopy(self.stored)

    def apply(self, entries: Sequence[Entry]) -> list[list[store_pb2.BatchOutcome]]:
        return [apply_entry(self.store, entry) for entry in entries]

    def commit(self, write: TurnWrite) -> list[list[store_pb2.BatchOutcome]]:
        if write.truncate_from is not None:
            assert write.truncate_from > self.state.commit_index, "what is committed stays"
            del self.entries[write.truncate_from - self.entries[0].index :]
        for entry in write.append:
            assert entry.index == (self.entries[-1].index if self.entries else 0) + 1, "no gap, no overlap"
            self.entries.append(entry)
        if write.hard_state is not None:
            assert write.hard_state.term >= self.state.term
            self.state = write.hard_state
        for entry in write.apply:
            assert entry == self.entries[entry.index - self.entries[0].index]
        outcomes = self.apply([entry for entry in write.apply if entry.index > self.store.applied_index])
        if write.compact_to is not None:
            assert write.compact_to <= self.store.applied_index, "only what is applied may go"
            del self.entries[: write.compact_to - self.entries[0].index]
        self.stored = copy.deepcopy(self.store)
        return outcomes


class RolesSeen(SilentObserver):
    """The roles that a node has told of, in order."""

    def __init__(self) -> None:
        self.roles: list[str] = []

    def count(self, signal: Signal, amount: int = 1, **labels: str) -> None:
        if signal is Signal.ROLE_CHANGES:
            self.roles.append(labels["role"])


class HandNode:
    """One replica, its disk and its clock. `turn` takes a whole turn; `open` and `close` take it in two halves."""

    def __init__(
        self,
        node_id: NodeId,
        peers: Sequence[NodeId],
        *,
        clock: HandClock | None = None,
        disk: HandDisk | None = None,
        settings: EngineSettings | None = None,
        seed: int = 1,
    ) -> None:
        self.node_id, self.peers = node_id, tuple(peers)
        self.clock = clock or HandClock()
        self.disk = disk or HandDisk()
        self.settings = settings or hand_settings(node_id, founded(voters(node_id, *self.peers)))
        self.dice = random.Random(seed)
        self.last: Turn | None = None
        self.observer = RolesSeen()
        self.replica = self._started()

    def _started(self) -> Replica:
        return Replica(
            self.settings,
            log=self.disk,
            applied_index=self.disk.store.applied_index,
            clock=self.clock,
            dice=self.dice,
            observer=self.observer,
        )

    def restart(self) -> None:
        """SIGKILL and a new process: what is on disk stays, links are gone."""
        self.disk.restarted()
        self.replica = self._started()

    def open(self, *events: Event) -> Turn:
        self.last = self.replica.turn(events)
        return self.last

    def close(self, turn: Turn) -> tuple[Outgoing, ...]:
        answers = self.replica.applied(self.disk.apply(turn.write.apply))
        if turn.must_commit:
            self.disk.commit(turn.write)
        return (*turn.early_frames, *answers, *self.replica.committed())

    def turn(self, *events: Event) -> tuple[Outgoing, ...]:
        return self.close(self.open(*events))

    def link(self, *peers: NodeId, epoch: int = 1) -> tuple[Outgoing, ...]:
        return self.turn(*(LinkUp(peer, epoch) for peer in peers or self.peers))

    def hear(self, peer: NodeId, **body: object) -> tuple[Outgoing, ...]:
        """A turn that takes one message of a peer; hear(B, stale_term=raft_pb2.StaleTerm(term=2))."""
        epoch = self.replica.link_epoch(peer)
        assert epoch is not None, f"no link to {peer}"
        return self.turn(frame(peer, epoch, **body))

    def wait(self, seconds: float) -> tuple[Outgoing, ...]:
        """Time passes; a turn is taken at its end."""
        self.clock.forward(seconds)
        return self.turn()

    def log(self) -> list[tuple[int, int]]:
        """(index, term) of everything on disk."""
        return [(entry.index, entry.term) for entry in self.disk.entries]


def frame(peer: NodeId, epoch: int, **body: object) -> Frame:
    message = raft_pb2.RaftMessage(**body)  # type: ignore[arg-type]
    return Frame(peer, epoch, encode(message))


def bodies(frames: Sequence[Outgoing], kind: str, to: NodeId | None = None) -> list[raft_pb2.RaftMessage]:
    """The messages of one kind among frames."""
    messages = [(out.peer, decode(out.payload)) for out in frames]
    return [message for peer, message in messages if message.WhichOneof("body") == kind and to in (None, peer)]


class HandCluster:
    """Nodes on one clock. Frames wait in `wire` until `deliver`.

    cut: (sender, receiver) pairs whose frames are lost. hold: pairs whose frames are put aside, in `late`, in order.
    """

    def __init__(
        self,
        count: int = 3,
        *,
        regions: Mapping[NodeId, Region] | None = None,
        is_founded: bool = True,
        **settings: Any,
    ) -> None:
        """is_founded: False for a group of which the first leader brings the first membership."""
        self.clock = HandClock()
        names = NAMES[:count]
        by_names = voters(*names, regions=regions)
        membership = settings.pop("membership", founded(by_names) if is_founded else by_names)
        self.nodes = {
            name: HandNode(
                name,
                [peer for peer in names if peer != name],
                clock=self.clock,
                settings=hand_settings(name, membership, **(own_directory(name, is_founded) | settings)),
                seed=number,
            )
            for number, name in enumerate(names)
        }
        self.wire: deque[tuple[NodeId, Outgoing]] = deque()
        self.cut: frozenset[tuple[NodeId, NodeId]] = NO_LOSS
        self.hold: frozenset[tuple[NodeId, NodeId]] = NO_LOSS
        self.late: list[tuple[NodeId, Outgoing]] = []
        self._epoch = 0
        for name in names:
            for peer in names:
                if name < peer:
                    self.connect(name, peer)

    def __getitem__(self, name: NodeId) -> HandNode:
        return self.nodes[name]

    def join(self, name: NodeId, *, directory_id: bytes = b"") -> HandNode:
        """A node with an empty disk that belongs to no group yet, linked to all."""
        settings = hand_settings(name, voters(), joining=True, directory_id=directory_id)
        node = self.nodes[name] = HandNode(name, [], clock=self.clock, settings=settings, seed=len(self.nodes))
        for peer in self.nodes:
            if peer != name:
                self.connect(peer, name)
        return node

    def change(self, change: MemberChange, at: NodeId | None = None) -> list[Membership | ReplicatorError]:
        """Asks the leader; what it answers is in the list once it does."""
        answers: list[Membership | ReplicatorError] = []
        leader = self[at] if at is not None else self.leader()
        leader.replica.members.ask(change, answers.append)
        self.take(leader.node_id)
        self.deliver()
        return answers

    def connect(self, a: NodeId, b: NodeId) -> None:
        """A new stream between two nodes; what flew on an older one is lost."""
        self._epoch += 1
        self.wire = deque(item for item in self.wire if {item[0], item[1].peer} != {a, b})
        for me, peer in ((a, b), (b, a)):
            self.take(me, LinkUp(peer, self._epoch, self[peer].settings.directory_id))

    def disconnect(self, a: NodeId, b: NodeId) -> None:
        self.wire = deque(item for item in self.wire if {item[0], item[1].peer} != {a, b})
        for me, peer in ((a, b), (b, a)):
            epoch = self[me].replica.link_epoch(peer)
            if epoch is not None:
                self.take(me, LinkDown(peer, epoch))

    def take(self, name: NodeId, *events: Event) -> None:
        """One turn of a node; its frames go on the wire."""
        self.wire.extend((name, out) for out in self[name].turn(*events))

    def deliver(self, count_max: int = 10_000) -> None:
        """Carries frames, and what answers them, until the wire is empty and leaders have told what is committed."""
        for _ in range(count_max):
            if self.wire:
                self._carry_next()
            elif not self._tell_commit_indexes():
                return
        raise AssertionError("the nodes never stop talking")

    def _tell_commit_indexes(self) -> bool:
        """Makes leaders say now what waits for entries that could carry it; no time passes. False if nothing does."""
        soon_s = self.clock.monotonic_s() + COMMIT_NOTICE_S
        due = [
            name
            for name, node in self.nodes.items()
            if node.replica.graft.is_leader and node.replica.graft.heartbeat_due_s <= soon_s
        ]
        for name in due:
            self[name].replica.pump.want()
            self.take(name)
        return bool(due)

    def _carry_next(self) -> None:
        sender, out = self.wire.popleft()
        if (sender, out.peer) in self.hold:
            self.late.append((sender, out))
        elif (sender, out.peer) not in self.cut:
            self.hand_over(sender, out)

    def hand_over(self, sender: NodeId, out: Outgoing) -> None:
        """One frame arrives, if the link that it was sent on is still there."""
        if self[out.peer].replica.link_epoch(sender) == out.epoch:
            self.take(out.peer, Frame(sender, out.epoch, out.payload))

    def wait(self, seconds: float, step_s: float = 0.02) -> None:
        """Lets time pass for all, carrying what they say."""
        for _ in range(round(seconds / step_s)):
            self.clock.forward(step_s)
            for name in self.nodes:
                self.take(name)
            self.deliver()

    def elect(self, name: NodeId) -> HandNode:
        """Time passes for one node only until it leads, and all have heard so; the others vote."""
        node = self.elect_unheard(name)
        self.deliver()
        return node

    def elect_unheard(self, name: NodeId) -> HandNode:
        """As `elect`, but what the new leader says first is still on the wire."""
        node = self[name]
        for _ in range(100):
            while self.wire and not node.replica.graft.is_leader:
                self._carry_next()
            if node.replica.graft.is_leader:
                return node
            self.clock.forward(0.1)
            self.take(name)
        raise AssertionError(f"{name} was not elected")

    def campaign(self, name: NodeId) -> HandNode:
        """Time passes for one node only until it is a candidate, and has not been answered yet."""
        node = self[name]
        while node.replica.graft.role != "candidate":
            self.clock.forward(0.1)
            self.take(name)
            while self.wire and node.replica.graft.role != "candidate":
                self._carry_next()
        return node

    def write(self, key: bytes) -> LogIndex:
        """A write at the leader, acknowledged before this returns; its index."""
        leader, answers = self.leader(), list[store_pb2.BatchOutcome | ReplicatorError]()
        leader.replica.proposals.offer(put(key), answers.append)
        self.take(leader.node_id)
        self.deliver()
        assert isinstance(answers[0], store_pb2.BatchOutcome), answers
        return LogIndex(answers[0].index)

    def leader(self) -> HandNode:
        """The leader of the newest term."""
        leaders = [node for node in self.nodes.values() if node.replica.graft.is_leader]
        return max(leaders, key=lambda node: node.replica.graft.term)
