"""A node that cannot make the snapshot that it is asked for: the condition, what is said, when it tries again."""

from collections.abc import AsyncIterator

import pytest

from replicator.engine.snapshots import exchange as snapshots
from replicator.engine.snapshots.providing import RETRY_S_MAX
from tests.support.links import until
from tests.support.snapshot_bench import A, Bench, C, a_bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with a_bench() as made:
        yield made


async def test_a_failure_is_a_condition_until_one_is_made(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.store.broken = {"make"}
    leader = bench.of(A)
    leader.after_turn()
    await until(lambda: bench.can_make.problem() != "")
    assert bench.can_make.problem() == "a snapshot could not be made: no room"

    bench.store.broken = set()

    def in_time() -> bool:
        bench.cluster.clock.forward(0.05)
        return bench.can_make.problem() == ""

    await until(in_time)
    await leader.stop()
    said = [record for record in caplog.records if record.name.endswith("snapshots.providing")]
    assert [record.levelname for record in said] == ["ERROR", "WARNING"], "its begin and its end"


async def test_nothing_is_tried_before_the_wait_is_over(bench: Bench) -> None:
    """Who asks meanwhile is refused: the leader turns to others, once a period."""
    bench.store.broken = {"make"}
    leader = bench.of(A)
    leader.after_turn()
    await until(lambda: bench.store.made == 1 and leader._making is None)
    for _ in range(20):
        bench.cluster.clock.forward(0.01)
        leader._step()
    assert bench.store.made == 1
    assert not bench.can_make.may_try()
    bench.cluster.clock.forward(RETRY_S_MAX)
    assert bench.can_make.may_try()
    await leader.stop()


async def test_a_problem_ends_with_the_need(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "KEEP_S", 0.05)
    bench.store.broken = {"make"}
    leader = bench.of(A)
    leader.after_turn()
    await until(lambda: bench.can_make.problem() != "")
    bench.cluster.disconnect(A, C)
    await until(lambda: bench.can_make.problem() == "")
    await leader.stop()


async def test_data_that_are_damaged_are_a_condition_too(bench: Bench) -> None:
    bench.store.broken = {"data"}
    leader = bench.of(A)
    leader.after_turn()
    await until(lambda: bench.can_make.problem() == "a snapshot could not be made: it met an error; see its log")
    await leader.stop()
