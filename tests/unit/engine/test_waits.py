"""Callers waiting for the local replica: woken in order, bounded, and told when time or the node is over."""

import asyncio

import pytest

from replicator.engine.calling import waits
from replicator.engine.calling.waits import AppliedWaits
from replicator.model.errors import Overloaded, ReplicaBehind, ShuttingDown
from replicator.model.ids import LogIndex

FOREVER_S = 30.0


async def waiting(held: AppliedWaits, index: int) -> "asyncio.Task[None]":
    task = asyncio.create_task(held.wait(LogIndex(index), timeout_s=FOREVER_S))
    await asyncio.sleep(0)
    return task


async def test_what_is_applied_already_is_not_waited_for() -> None:
    await AppliedWaits(LogIndex(5)).wait(LogIndex(5), timeout_s=0.0)


async def test_a_caller_is_woken_when_its_index_is_applied_and_no_sooner() -> None:
    held = AppliedWaits(LogIndex(0))
    third, first = await waiting(held, 3), await waiting(held, 1)
    held.applied(LogIndex(2))
    await first
    assert not third.done()
    held.applied(LogIndex(3))
    await third


async def test_time_that_is_over_says_where_the_replica_stands() -> None:
    held = AppliedWaits(LogIndex(4))
    with pytest.raises(ReplicaBehind) as behind:
        await held.wait(LogIndex(9), timeout_s=0.01)

    assert behind.value.metadata == {"applied_index": "4", "wanted_index": "9"}


async def test_waiters_are_bounded_and_those_who_gave_up_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "WAITING_MAX", 2)
    held = AppliedWaits(LogIndex(0))
    tasks = [await waiting(held, 5), await waiting(held, 6)]
    with pytest.raises(Overloaded):
        await held.wait(LogIndex(7), timeout_s=FOREVER_S)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    late = await waiting(held, 7)
    held.applied(LogIndex(7))
    await asyncio.gather(tasks[1], late)


async def test_a_node_that_stops_fails_them_all() -> None:
    held = AppliedWaits(LogIndex(0))
    tasks = [await waiting(held, index) for index in (2, 1)]
    held.fail_all(ShuttingDown("this node stops"))

    assert [type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)] == [ShuttingDown] * 2


async def test_a_caller_that_gave_up_does_not_disturb_the_others() -> None:
    held = AppliedWaits(LogIndex(0))
    gone, stays = await waiting(held, 1), await waiting(held, 1)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    held.applied(LogIndex(1))
    await stays
