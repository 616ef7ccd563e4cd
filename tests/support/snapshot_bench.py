"""The leader of a cluster in which one node lacks entries, and its snapshots, with a store and a fetcher by hand."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from replicator.engine.replica import Replica
from replicator.engine.snapshots.exchange import Snapshots
from replicator.engine.snapshots.providing import SnapshotProviding
from replicator.engine.snapshots.storing import SnapshotStoring
from replicator.model.conditions import Condition, Problem
from replicator.model.errors import CorruptData
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import HardState, SnapshotManifest
from replicator.storage.failures import DiskFull, SnapshotFailed, SnapshotRefused
from replicator.transport.ports import FetchFailure, SnapshotUnavailable
from tests.support.left_behind import write_without
from tests.support.replicas import NAMES, HandCluster, HandNode, bodies

A, B, C = NAMES[:3]
KEEP = 20
NO_ROOM = Problem(Condition.NO_SNAPSHOT_ROOM, "1 MiB is free")


def a_manifest(index: int) -> SnapshotManifest:
    return SnapshotManifest(f"{index}-{'0' * 16}", "c", LogIndex(index), Term(1), bytes(16), 100, bytes(32))


@dataclass
class Store:
    """Implements snapshots.SnapshotStore; what it cannot do is in `broken`."""

    index: int = 0
    made: int = 0
    kept: list[str | None] = field(default_factory=list)
    prepared: int = 0
    forgotten: int = 0
    broken: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    may_make: asyncio.Event = field(default_factory=asyncio.Event)

    async def make(self) -> SnapshotManifest:
        self.made += 1
        await self.may_make.wait()
        if "make" in self.broken:
            raise SnapshotFailed("no room")
        if "data" in self.broken:
            raise CorruptData("a page is damaged")
        self.held.add(a_manifest(self.index).snapshot_id)
        return a_manifest(self.index)

    async def prepare(self, file: Path, manifest: SnapshotManifest, hard_state: HardState) -> Path:
        self.prepared += 1
        if "prepare" in self.broken:
            raise SnapshotRefused("its digest is another one")
        if "disk" in self.broken:
            raise DiskFull("prepare: No space left on device")
        if "sync" in self.broken:
            raise SnapshotFailed("prepare: Input/output error")
        return Path("prepared")

    def missing_room(self, manifest: SnapshotManifest) -> Problem | None:
        return NO_ROOM if "room" in self.broken else None

    def incoming_file(self, snapshot_id: str) -> Path:
        return Path(snapshot_id)

    def keep_only(self, snapshot_id: str | None) -> None:
        self.kept.append(snapshot_id)
        self.held &= {snapshot_id}

    def forget_incoming(self) -> None:
        self.forgotten += 1

    def file(self, snapshot_id: str) -> Path | None:
        return Path(snapshot_id) if snapshot_id in self.held else None


@dataclass
class NoTurns:
    """Implements replica.Turning: turns are taken by hand."""

    node: HandNode

    @property
    def replica(self) -> Replica:
        return self.node.replica

    def wake(self) -> None:
        """Nothing sleeps."""


@dataclass
class Bench:
    """The leader of a cluster in which C lacks what is compacted, and its snapshots."""

    cluster: HandCluster
    store: Store
    installed: list[SnapshotManifest] = field(default_factory=list)
    fetched: list[tuple[NodeId, str]] = field(default_factory=list)
    may_fetch: asyncio.Event = field(default_factory=asyncio.Event)
    reachable: bool = True
    why_not: FetchFailure = FetchFailure.GONE

    def __post_init__(self) -> None:
        self.storing = SnapshotStoring(self.cluster.clock, random.Random(5))
        self.can_make = SnapshotProviding(self.cluster.clock, random.Random(6))

    def of(self, name: NodeId) -> Snapshots:
        made = Snapshots(
            self.store, NoTurns(self.cluster[name]), install=self.install, storing=self.storing, can_make=self.can_make
        )
        made.connect(self)
        return made

    async def install(self, _prepared: Path, manifest: SnapshotManifest) -> bool:
        self.installed.append(manifest)
        return True

    async def fetch_snapshot(
        self, peer: NodeId, snapshot_id: str, *, target: Path, size_bytes: int, timeout_s: float
    ) -> None:
        self.fetched.append((peer, snapshot_id))
        await self.may_fetch.wait()
        if not self.reachable:
            raise SnapshotUnavailable(self.why_not, "cut off")

    def offers(self) -> int:
        return len(bodies(self.cluster[A].turn(), "snapshot_offer", to=C))


def complaints(bench: Bench) -> list[str]:
    """What C tells the leader of its sources."""
    frames = bench.cluster[C].turn()
    return [message.snapshot_not_taken.source for message in bodies(frames, "snapshot_not_taken", to=A)]


@asynccontextmanager
async def a_bench() -> AsyncIterator[Bench]:
    """Its user stops what it started: no task of a snapshot may be left."""
    cluster = HandCluster(3, log_entries_max=KEEP, snapshot_period_s=0.01)
    cluster.elect(A)
    write_without(cluster, A, C, 3 * KEEP)
    cluster.cut = frozenset()
    cluster.wait(0.2)
    made = Bench(cluster, Store(index=cluster[A].replica.applied_index))
    made.may_fetch.set()
    made.store.may_make.set()
    yield made
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("snapshot-")], "stopped is stopped"
