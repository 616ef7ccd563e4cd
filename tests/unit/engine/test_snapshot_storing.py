"""A node that cannot store the snapshot that it is offered: the condition, who is blamed, when it tries again."""

from collections.abc import AsyncIterator

import pytest

from replicator.engine.snapshots.storing import RETRY_S_MAX, RETRY_S_MIN
from replicator.model.conditions import Condition, Problem
from replicator.model.ids import LogIndex
from replicator.transport.ports import FetchFailure
from tests.support.links import until
from tests.support.snapshot_bench import NO_ROOM, A, B, Bench, C, a_bench, a_manifest, complaints

TOO_LARGE = Problem(Condition.SNAPSHOT_TOO_LARGE, "it has 70 MiB")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with a_bench() as made:
        yield made


async def test_without_room_nothing_is_fetched_and_each_offer_looks_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    follower, manifest = bench.of(C), a_manifest(50)
    applied = bench.cluster[C].replica.applied_index
    bench.store.broken = {"room"}
    for _ in range(3):
        bench.cluster[C].replica.snapshots.offered = (A, manifest)
        follower.after_turn()
        await until(lambda: follower._taking is None)
        assert bench.storing.problem(applied) == "no room for a snapshot: 1 MiB is free"
    assert bench.fetched == []
    assert [record.levelname for record in caplog.records] == ["ERROR"], "said once"
    assert bench.storing.problem(LogIndex(50)) == "", "the log has brought it there after all"

    bench.store.broken = set()
    bench.cluster[C].replica.snapshots.offered = (A, manifest)
    follower.after_turn()
    await until(lambda: bench.installed == [manifest])
    await follower.stop()
    assert bench.storing.problem(applied) == ""
    assert complaints(bench) == []


async def test_a_second_shortage_is_said_again_once_the_log_has_ended_the_first(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.storing.no_room(NO_ROOM, LogIndex(50))
    bench.storing.reached(LogIndex(49))
    bench.storing.reached(LogIndex(50))
    bench.storing.reached(LogIndex(51))
    bench.storing.no_room(NO_ROOM, LogIndex(200))

    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "ERROR"]
    assert bench.storing.may_try()


async def test_another_condition_is_said_as_well(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """An operator who has made room must hear what else is missing."""
    for problem in (NO_ROOM, NO_ROOM, TOO_LARGE, TOO_LARGE):
        bench.storing.no_room(problem, LogIndex(50))

    assert [record.getMessage().split(";")[0] for record in caplog.records] == [str(NO_ROOM), str(TOO_LARGE)]
    assert bench.storing.problem(LogIndex(0)) == "a snapshot exceeds storage.size_max_mib: it has 70 MiB"


async def test_after_an_attempt_that_failed_on_the_disk_the_next_one_waits_longer_each_time(bench: Bench) -> None:
    follower, manifest = bench.of(C), a_manifest(50)
    bench.reachable, bench.why_not = False, FetchFailure.DISK
    waits_s = []
    for attempt in range(1, 9):
        began_s = bench.cluster.clock.now_s
        while len(bench.fetched) < attempt:
            bench.cluster.clock.forward(0.5)
            bench.cluster[C].replica.snapshots.offered = (A, manifest)
            follower.after_turn()
            await until(lambda: follower._taking is None)
        waits_s.append(bench.cluster.clock.now_s - began_s)
    await follower.stop()

    assert waits_s[0] == 0.5
    assert all(RETRY_S_MIN <= wait_s <= RETRY_S_MAX + 0.5 for wait_s in waits_s[1:])
    assert max(waits_s) > 8 * RETRY_S_MIN
    assert bench.storing.problem(LogIndex(0)) == "a snapshot could not be stored: DISK: cut off"


@pytest.mark.parametrize("fault", ["disk", "sync"])
async def test_a_disk_that_fails_while_a_snapshot_is_prepared_is_told_and_what_was_fetched_stays(
    bench: Bench, fault: str
) -> None:
    follower, manifest = bench.of(C), a_manifest(50)
    bench.store.broken = {fault}
    for _ in range(2):
        bench.cluster[C].replica.snapshots.offered = (B, manifest)
        follower.after_turn()
        await until(lambda: follower._taking is None)
    assert bench.storing.problem(LogIndex(0)).startswith("a snapshot could not be stored: prepare: ")
    assert (bench.store.prepared, bench.store.forgotten) == (1, 0), "the second offer came too early"
    assert complaints(bench) == []

    bench.store.broken = set()
    bench.cluster.clock.forward(2 * RETRY_S_MIN)
    bench.cluster[C].replica.snapshots.offered = (B, manifest)
    follower.after_turn()
    await until(lambda: bench.installed == [manifest])
    await follower.stop()
    assert bench.storing.problem(LogIndex(0)) == ""
