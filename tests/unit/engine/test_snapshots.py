"""Who makes, offers, fetches and takes over snapshots: one at a time, tried again when it fails, ended for good."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from replicator.core.backoff import Backoff
from replicator.engine.snapshots import exchange as snapshots
from replicator.engine.snapshots.duties import _Order
from replicator.model.ids import LogIndex, Term
from replicator.model.log import SnapshotManifest
from replicator.transport.ports import FetchFailure
from tests.support.links import until
from tests.support.replicas import bodies
from tests.support.snapshot_bench import A, B, Bench, C, a_bench, a_manifest, complaints


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with a_bench() as made:
        yield made


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
    """Once who was asked instead has not answered either."""

    def in_time(holds: Callable[[], bool]) -> bool:
        bench.cluster.clock.forward(0.002)
        return holds()

    bench.can_make._backoff = Backoff(random.Random(7), min_s=0.001, max_s=0.002)
    bench.store.broken = {"make"}
    leader = bench.of(A)
    leader.after_turn()
    await until(lambda: in_time(lambda: bench.store.made >= 2))
    assert bench.offers() == 0
    bench.store.broken = set()
    await until(lambda: in_time(lambda: bench.offers() > 0))
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
        bench.cluster[C].replica.snapshots.offered = (A, manifest)
        follower.after_turn()
    assert bench.cluster[C].replica.snapshots.offered is None
    bench.may_fetch.set()
    await until(lambda: bench.store.forgotten == 1)
    await follower.stop()

    assert (bench.fetched, bench.installed) == ([(A, manifest.snapshot_id)], [manifest])


@pytest.mark.parametrize("trouble", ["fetch", "prepare"])
async def test_what_could_not_be_taken_is_taken_when_it_is_offered_again(bench: Bench, trouble: str) -> None:
    """What was fetched in part stays, so that the next fetch goes on there. What is not what it should be goes.

    The leader hears of it: it may know a better source.
    """
    follower, manifest = bench.of(C), a_manifest(50)
    bench.reachable, bench.store.broken = trouble != "fetch", {trouble}
    bench.cluster[C].replica.snapshots.offered = (B, manifest)
    follower.after_turn()
    await until(lambda: follower._taking is None)
    assert (bench.installed, bench.store.forgotten) == ([], int(trouble == "prepare"))
    assert complaints(bench) == [B]
    bench.reachable, bench.store.broken = True, set()
    bench.cluster[C].replica.snapshots.offered = (B, manifest)
    follower.after_turn()
    await until(lambda: bench.installed == [manifest])
    await follower.stop()

    assert complaints(bench) == []


@pytest.mark.parametrize("fault", [FetchFailure.DISK, FetchFailure.STOPPING])
async def test_nobody_else_is_blamed_for_a_fault_of_this_node(bench: Bench, fault: FetchFailure) -> None:
    """Its disk is full, or it stops: another source would not help."""
    follower = bench.of(C)
    bench.reachable, bench.why_not = False, fault
    bench.cluster[C].replica.snapshots.offered = (B, a_manifest(50))
    follower.after_turn()
    await until(lambda: follower._taking is None)
    await follower.stop()

    assert complaints(bench) == []


async def test_a_node_goes_on_offering_while_it_makes_another_one(bench: Bench) -> None:
    """Making takes long; those who wait must not believe that nothing happens."""
    leader, duties = bench.of(A), bench.cluster[A].replica.snapshots
    bench.store.may_make.clear()
    steps: list[bool] = []
    step = duties.step

    def noted(held: SnapshotManifest | None, *, making: bool) -> bool:
        steps.append(making)
        return step(held, making=making)

    duties.step = noted  # type: ignore[method-assign]
    leader.after_turn()
    await until(lambda: steps.count(True) >= 3)
    assert (steps[0], bench.store.made, bench.offers()) == (False, 1, 0)
    bench.store.may_make.set()
    await until(lambda: bench.offers() > 0)
    await leader.stop()


async def test_a_snapshot_that_somebody_removed_is_made_again(bench: Bench) -> None:
    """What is offered must be there."""
    leader = bench.of(A)
    leader.after_turn()
    await until(lambda: bench.store.made == 1)
    bench.store.held.clear()
    await until(lambda: bench.store.made == 2)
    await leader.stop()


async def test_what_is_being_made_ends_before_the_data_are_replaced(bench: Bench) -> None:
    """And nothing is begun meanwhile: half of it would be of the old data and half of the new."""
    node, manifest, ran = bench.of(C), a_manifest(50), list[bool]()
    bench.store.may_make.clear()
    bench.cluster[C].replica.snapshots._orders[B] = _Order(A, Term(1), LogIndex(1), until_s=float("inf"))
    node.after_turn()
    await until(lambda: bench.store.made == 1)

    async def look(_prepared: Path, _manifest: SnapshotManifest) -> bool:
        node.after_turn()
        ran.extend((node._making is not None, node._serving is not None))
        return True

    node._install = look
    bench.cluster[C].replica.snapshots.offered = (A, manifest)
    node.after_turn()
    await until(lambda: bench.store.forgotten == 1)
    await until(lambda: node._taking is None)
    assert ran == [False, False]
    node.after_turn()
    await until(lambda: bench.store.made == 2)
    await node.stop()


async def test_a_node_whose_data_are_damaged_says_so_to_who_asked_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the receiver would wait for it."""
    node = bench.of(C)
    bench.store.broken = {"data"}
    bench.cluster[C].replica.snapshots._orders[B] = _Order(A, Term(1), LogIndex(1), until_s=float("inf"))
    node.after_turn()
    await until(lambda: bench.store.made == 1 and node._making is None)
    frames = bench.cluster[C].turn()
    await node.stop()

    answers = [message.snapshot_promised.WhichOneof("answer") for message in bodies(frames, "snapshot_promised", to=A)]
    assert answers == ["making", "refused"]
    assert "snapshot task failed" in caplog.text


async def test_nothing_begins_once_it_was_stopped(bench: Bench) -> None:
    """Turns go on for a moment after snapshots were stopped; the storage is closed after that."""
    leader, follower = bench.of(A), bench.of(C)
    await leader.stop()
    await follower.stop()
    leader.after_turn()
    bench.cluster[C].replica.snapshots.offered = (A, a_manifest(50))
    follower.after_turn()
    await asyncio.sleep(0)

    assert (bench.store.made, bench.fetched) == (0, [])
