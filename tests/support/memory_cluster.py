"""A replicated log in memory: entries go through the real state machine, replicas can fall behind or be cut off.

Satisfies the ports of `replicator.service.ports`. What it leaves out is disks, elections and the wire.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from replicator.config.timing import RaftTiming
from replicator.machine.apply import apply_entry
from replicator.machine.codec import encode_entry
from replicator.model.causal_token import token_scope
from replicator.model.errors import NoLeader, ReplicaBehind, ReplicatorError
from replicator.model.ids import ClusterId, EntryCount, LogIndex, NodeId, Region, Term
from replicator.model.log import Entry
from replicator.model.members import Member, MemberChange, Membership
from replicator.model.status import EngineStatus, PeerProgress
from replicator.node.clock import SystemClock
from replicator.service.feed.watch import WatchLimits, WatchService
from replicator.service.leadership import LeadershipService
from replicator.service.members import MemberService
from replicator.service.read import ReadService
from replicator.service.scan import ScanService
from replicator.service.status import NodeIdentity, StatusService
from replicator.service.write import WriteService
from replicator.v1 import store_pb2
from tests.support.members import FOUNDER
from tests.support.memory_group import promoted, successor_of, target_of
from tests.support.memory_replica import MemoryReplica

CLUSTER_ID = ClusterId("shop")
SCOPE = token_scope(FOUNDER)
FIRST_TERM = Term(1)
FIRST_INDEX = LogIndex(1)
NO_MEMBERS = Membership(LogIndex(0), ())
FOUNDED = Membership(LogIndex(0), (), FOUNDER)
LOG_TIME_MS = 1_000  # of every entry
FIRST_ENTRY = Entry(encode_entry(LOG_TIME_MS, [b""]), FIRST_INDEX, FIRST_TERM)
LAN, CLOCK = RaftTiming(0.05, 0.3, 0.6), SystemClock()


@dataclass
class MemoryCluster:
    """One log; whatever is in it is committed. `leader` None: an election that does not end.

    log: begins with the first leader's own entry, which every member has applied, as in a cluster that serves.
    promotes: a member that joins becomes a voter as soon as it has caught up; else when a test says `settle`.
    """

    log: list[Entry] = field(default_factory=lambda: [FIRST_ENTRY])
    nodes: list["MemoryNode"] = field(default_factory=list)
    leader: "MemoryNode | None" = None
    term: Term = FIRST_TERM
    membership: Membership = FOUNDED
    promotes: bool = True

    def add(self, node_id: str, region: str) -> "MemoryNode":
        """A member from the beginning; its addresses are those of nobody until `advertise`."""
        node = MemoryNode(self, NodeId(node_id), Region(region))
        self.nodes.append(node)
        self.leader = self.leader or node
        number = len(self.nodes)
        self._show(
            self.membership.with_member(
                Member(node.node_id, node.region, f"127.0.0.1:{number}", f"127.0.0.1:{100 + number}")
            )
        )
        node.catch_up()
        return node

    def add_unknown(self, node_id: str, region: str) -> "MemoryNode":
        """A node that no membership names: it hears nothing until one does."""
        node = MemoryNode(self, NodeId(node_id), Region(region))
        self.nodes.append(node)
        return node

    def advertise(self, addresses: dict[NodeId, str]) -> None:
        """Where the API of each founding member is."""
        for member in self.membership.members:
            if member.node_id in addresses:
                self._show(self.membership.with_member(replace(member, api_address=addresses[member.node_id])))

    def change(self, change: MemberChange) -> Membership:
        assert self.leader is not None
        successor = successor_of(self.membership, change, self.leader.node_id)
        if successor is None:
            return self.membership
        if successor.leader_leaves:
            self.lead(next(iter(sorted(successor.membership.voters))))
        return self._commit_membership(successor.membership)

    def lead(self, node_id: NodeId) -> None:
        """That node leads a new term."""
        self.leader = next(node for node in self.nodes if node.node_id == node_id)
        self.term = Term(self.term + 1)

    def settle(self) -> None:
        """Those that have caught up vote from here on."""
        caught_up = frozenset(node.node_id for node in self.nodes if node.applied_index == len(self.log))
        while (after := promoted(self.membership, caught_up, self.membership.index)) is not None:
            self._commit_membership(after)

    def _commit_membership(self, membership: Membership) -> Membership:
        """Those whom it removes do not hear of it."""
        committed = replace(membership, index=LogIndex(len(self.log) + 1))
        self.membership = committed
        self.commit(b"")
        if self.promotes:
            asyncio.get_running_loop().call_soon(self.settle)
        return committed

    def _show(self, membership: Membership) -> None:
        """Of the configuration: known to all founding members without an entry."""
        self.membership = membership
        for node in self.nodes:
            if membership.get(node.node_id):
                node.known_membership = membership

    def commit(self, command: bytes) -> LogIndex:
        index = LogIndex(len(self.log) + 1)
        self.log.append(Entry(encode_entry(LOG_TIME_MS, [command]), index, self.term))
        for node in self.nodes:
            node.catch_up()
        return index


class MemoryNode:
    """Satisfies service.ports.EnginePort and GroupPort.

    `hold` and `cut_off` are its faults; `raises` fails the next proposals and changes.
    """

    def __init__(self, cluster: MemoryCluster, node_id: NodeId, region: Region) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.region = region
        self.replica = MemoryReplica()
        self.outcomes: dict[LogIndex, store_pb2.BatchOutcome] = {}
        self.raises: deque[ReplicatorError] = deque()
        self.read_indexes = 0
        self.known_membership = NO_MEMBERS
        self._held = False
        self._cut_off = False
        self._known_commit = LogIndex(0)
        self._fresh_at_s = CLOCK.monotonic_s()
        self.listeners: list[Callable[[], None]] = []
        self._moved = asyncio.Event()
        self._asked = asyncio.Event()

    async def asked(self, times: int) -> None:
        """Returns once `read_index` was called that often."""
        while self.read_indexes < times:
            self._asked.clear()
            await self._asked.wait()

    # Faults

    def hold(self) -> None:
        """Stops applying; still hears of commits."""
        self._held = True
        self._fresh_at_s = CLOCK.monotonic_s()

    def cut_off(self) -> None:
        """Hears of nothing and reaches no leader."""
        self._cut_off = self._held = True
        self._fresh_at_s = CLOCK.monotonic_s()

    def heal(self) -> None:
        self._held = self._cut_off = False
        self.catch_up()

    # EnginePort

    async def propose(self, command: bytes, *, timeout_s: float) -> store_pb2.BatchOutcome:
        if self.raises:
            raise self.raises.popleft()
        if not self.founder:
            raise NoLeader("this node has not heard of its group", retry_after_s=0.02)
        leader = self._reach_leader()
        index = self.cluster.commit(command)
        await asyncio.sleep(0)
        return leader.outcomes[index]

    async def read_index(self, *, timeout_s: float) -> LogIndex:
        self.read_indexes += 1
        self._asked.set()
        self._reach_leader()
        await asyncio.sleep(0)
        return LogIndex(len(self.cluster.log))

    async def wait_applied(self, index: LogIndex, *, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while self.applied_index < index:
                    await self._moved.wait()
        except TimeoutError:
            raise ReplicaBehind(f"applied {self.applied_index}, wanted {index}") from None

    def listen_applied(self, listener: Callable[[], None]) -> None:
        self.listeners.append(listener)

    async def wait_stored(self, *, timeout_s: float) -> None:
        """There is no disk that could be behind."""

    async def wait_fresh(self, max_staleness_ms: float, *, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while self.staleness_ms() > max_staleness_ms:
                    await self._moved.wait()
        except TimeoutError:
            raise ReplicaBehind(f"not known to be at most {max_staleness_ms} ms old") from None

    def staleness_ms(self) -> float:
        return (CLOCK.monotonic_s() - self._fresh_at_s) * 1000.0 if self._held else 0.0

    @property
    def applied_index(self) -> LogIndex:
        return self.replica.applied_index

    @property
    def founder(self) -> bytes:
        return self.known_membership.founder

    @property
    def known_commit_index(self) -> LogIndex:
        return self._known_commit

    def status(self) -> EngineStatus:
        leads = self.cluster.leader is self
        tip = LogIndex(len(self.cluster.log))
        return EngineStatus(
            role="leader" if leads else "follower",
            term=self.cluster.term,
            leader_id=self.cluster.leader.node_id if self.cluster.leader and not self._cut_off else "",
            commit_index=self._known_commit,
            applied_index=self.applied_index,
            last_index=self._known_commit,
            read_only_reason="",
            log_time_ms=LOG_TIME_MS,
            membership=self.known_membership,
            peers=tuple(
                PeerProgress(
                    peer.node_id,
                    connected=not peer._cut_off,
                    match_index=peer.applied_index if leads else None,
                    lag_entries=EntryCount(tip - peer.applied_index) if leads else None,
                )
                for peer in self.cluster.nodes
                if peer is not self and self.known_membership.get(peer.node_id)
            ),
        )

    @property
    def is_caught_up(self) -> bool:
        return self.known_membership.get(self.node_id) is not None and not self._held

    # GroupPort

    def membership(self) -> Membership:
        return self.known_membership

    async def change_members(self, change: MemberChange, *, timeout_s: float) -> Membership:
        if self.raises:
            raise self.raises.popleft()
        self._reach_leader()
        membership = self.cluster.change(change)
        await asyncio.sleep(0)
        return membership

    async def transfer_leadership(
        self, target: NodeId | None = None, region: Region | None = None, *, timeout_s: float
    ) -> NodeId:
        if self.raises:
            raise self.raises.popleft()
        leader = self._reach_leader().node_id
        wanted = target_of(self.cluster.membership, leader, target, region)
        if wanted != leader:
            self.cluster.lead(wanted)
        await asyncio.sleep(0)
        return wanted

    # Insides

    def catch_up(self) -> None:
        if self.cluster.membership.get(self.node_id) is None:
            return  # nobody sends it anything
        if not self._held:
            self.known_membership = self.cluster.membership
        if not self._cut_off:
            self._known_commit = LogIndex(len(self.cluster.log))
        if not self._held:
            for entry in self.cluster.log[self.applied_index :]:
                (self.outcomes[entry.index],) = apply_entry(self.replica, entry)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        for listener in self.listeners:
            listener()

    def _reach_leader(self) -> "MemoryNode":
        if self.cluster.leader is None or self._cut_off:
            raise NoLeader("no leader is known here", retry_after_s=0.02)
        return self.cluster.leader

    # Use cases over it

    def identity(self) -> NodeIdentity:
        return NodeIdentity(CLUSTER_ID, self.node_id, self.region, "0")

    def writes(self) -> WriteService:
        return WriteService(self, CLOCK)

    def reads(self) -> ReadService:
        return ReadService(self, self.replica, CLOCK)

    def scans(self) -> ScanService:
        return ScanService(self, self.replica, CLOCK)

    def watches(self, limits: WatchLimits | None = None) -> WatchService:
        return WatchService(self, self.replica, limits or WatchLimits(1000, 1000), CLOCK)

    def statuses(self) -> StatusService:
        return StatusService(self, self, self.replica, self.identity(), lambda: LAN, clock=CLOCK)

    def members(self) -> MemberService:
        return MemberService(self, self, self.node_id, dice=random.Random(self.node_id), clock=CLOCK)

    def leadership(self) -> LeadershipService:
        return LeadershipService(self, random.Random(self.node_id), CLOCK)
