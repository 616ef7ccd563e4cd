"""Who makes, offers, fetches and takes over snapshots: one at a time, tried again when it fails, ended for good."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from replicator.engine import snapshots
from replicator.engine.snapshots import Snapshots
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import HardState, SnapshotManifest
from replicator.storage.failures import SnapshotFailed, SnapshotRefused
from replicator.transport.ports import FetchFailure, SnapshotUnavailable
from tests.support.links import until
from tests.support.replicas import NAMES, HandCluster, bodies

A, B, C = NAMES[:3]
KEEP = 20


def a_manifest(index: int) -> SnapshotManifest:
    return SnapshotManifest(f"{index}-{'0' * 16}", "c", LogIndex(index), Term(1), b"hash", 100, b"digest")


@dataclass
class Store:
    """Implements snapshots.SnapshotStore; what it cannot do is in `broken`."""

    index: int = 0
    made: int = 0
    kept: list[str | None] = field(default_factory=list)
    prepared: int = 0
    forgotten: int = 0
    broken: set[str] = field(default_factory=set)

    async def make(self) -> SnapshotManifest:
        self.made += 1
        if "make" in self.broken:
            raise SnapshotFailed("no room")
        return a_manifest(self.index)

    async def prepare(self, file: Path, manifest: SnapshotManifest, hard_state: HardState) -> Path:
        self.prepared += 1
        if "prepare" in self.broken:
            raise SnapshotRefused("its digest is another one")
        return Path("prepared")

    def incoming_file(self, snapshot_id: str) -> Path:
        return Path(snapshot_id)

    def keep_only(self, snapshot_id: str | None) -> None:
        self.kept.append(snapshot_id)

    def forget_incoming(self) -> None:
        self.forgotten += 1

    def file(self, snapshot_id: str) -> Path | None:
        return None


@dataclass
class Bench:
    """The leader of a cluster in which C lacks what is compacted, and its snapshots."""

    cluster: HandCluster
    store: Store
    installed: list[SnapshotManifest] = field(default_factory=list)
    fetched: list[tuple[NodeId, str]] = field(default_factory=list)
    may_fetch: asyncio.Event = field(default_factory=asyncio.Event)
    reachable: bool = True

    def of(self, name: NodeId) -> Snapshots:
        made = Snapshots(
            self.store, replica=lambda: self.cluster[name].replica, wake=lambda: None, install=self.install
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
            raise SnapshotUnavailable(FetchFailure.GONE, "cut off")

    def offers(self) -> int:
        return len(bodies(self.cluster[A].turn(), "snapshot_offer", to=C))


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(snapshots, "OFFER_EVERY_S", 0.01)
    cluster = HandCluster(3, log_entries_max=KEEP)
    cluster.elect(A)
    cluster.cut = frozenset({(A, C)})
    for key in range(3 * KEEP):
        cluster.write(b"%d" % key)
    cluster.cut = frozenset()
    cluster.wait(0.2)
    made = Bench(cluster, Store(index=cluster[A].replica.applied_index))
    made.may_fetch.set()
    yield made
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("snapshot-")], "stopped is stopped"


async def test_one_snapshot_is_made_for_all_who_lack_and_offered_until_nobody_does(bench: Bench) -> None:
    """Offers may be lost."""
    leader = bench.of(A)
    leader.after_turn()
    leader.after_turn()
    for _ in range(3):
        await until(lambda: bench.offers() > 0)
    await leader.stop()

    assert bench.store.made == 1
    assert bench.store.kept == [f"{bench.store.index}-{'0' * 16}"]


async def test_a_snapshot_that_the_log_has_left_behind_is_replaced(bench: Bench) -> None:
    leader = bench.of(A)
    bench.store.index = bench.cluster[A].replica.journal.first_index - 1
    leader.after_turn()
    await until(lambda: bench.store.made >= 2)
    await leader.stop()


async def test_a_snapshot_that_cannot_be_made_is_tried_again(bench: Bench) -> None:
    bench.store.broken = {"make"}
    leader = bench.of(A)
    leader.after_turn()
    await until(lambda: bench.store.made >= 2)
    assert bench.offers() == 0
    bench.store.broken = set()
    await until(lambda: bench.offers() > 0)
    await leader.stop()


async def test_what_nobody_lacks_any_more_is_removed_after_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "KEEP_S", 0.05)
    leader = bench.of(A)
    leader.after_turn()
    await until(lambda: bench.store.made == 1)
    bench.cluster.disconnect(A, C)
    await until(lambda: bench.store.kept[-1:] == [None])
    await leader.stop()


async def test_a_follower_takes_what_it_is_offered_once(bench: Bench) -> None:
    follower, manifest = bench.of(C), a_manifest(50)
    bench.may_fetch.clear()
    for _ in range(2):
        bench.cluster[C].replica.offered = (A, manifest)
        follower.after_turn()
    assert bench.cluster[C].replica.offered is None
    bench.may_fetch.set()
    await until(lambda: bench.store.forgotten == 1)
    await follower.stop()

    assert (bench.fetched, bench.installed) == ([(A, manifest.snapshot_id)], [manifest])


@pytest.mark.parametrize("trouble", ["fetch", "prepare"])
async def test_what_could_not_be_taken_is_taken_when_it_is_offered_again(bench: Bench, trouble: str) -> None:
    """What was fetched stays, so that the next fetch goes on where this one ended."""
    follower, manifest = bench.of(C), a_manifest(50)
    bench.reachable, bench.store.broken = trouble != "fetch", {trouble}
    bench.cluster[C].replica.offered = (A, manifest)
    follower.after_turn()
    await until(lambda: follower._taking is None)
    assert (bench.installed, bench.store.forgotten) == ([], 0)
    bench.reachable, bench.store.broken = True, set()
    bench.cluster[C].replica.offered = (A, manifest)
    follower.after_turn()
    await until(lambda: bench.store.forgotten == 1)
    await follower.stop()

    assert bench.installed == [manifest]


async def test_nothing_begins_once_it_was_stopped(bench: Bench) -> None:
    """Turns go on for a moment after snapshots were stopped; the storage is closed after that."""
    leader, follower = bench.of(A), bench.of(C)
    await leader.stop()
    await follower.stop()
    leader.after_turn()
    bench.cluster[C].replica.offered = (A, a_manifest(50))
    follower.after_turn()
    await asyncio.sleep(0)

    assert (bench.store.made, bench.fetched) == (0, [])
