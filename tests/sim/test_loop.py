"""The loop that simulated processes run on: asyncio in virtual time, and what SIGSTOP and SIGKILL do to it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from chaos.simulation.loop import NodeLoop
from chaos.simulation.timeline import NodeClock, Timeline


class Process:
    """A loop and what its tasks have said, with the virtual time at which they did."""

    def __init__(self, drift_ppm: float = 0.0) -> None:
        self.timeline, self.said = Timeline(), list[tuple[str, float]]()
        clock = NodeClock(self.timeline, offset_s=1000.0, wall_skew_ms=0, drift_ppm=drift_ppm)
        self.loop = NodeLoop(self.timeline, clock)  # type: ignore[abstract]

    def say(self, what: str) -> None:
        self.said.append((what, round(self.timeline.now_s, 2)))

    def run(self, task: Coroutine[Any, Any, Any], for_s: float) -> None:
        self.loop.create_task(task)
        self.timeline.run_until(self.timeline.now_s + for_s)

    async def talk(self) -> None:
        self.say("begins")
        await asyncio.sleep(1.0)
        self.say("goes on")


@pytest.fixture
def process() -> Process:
    return Process()


def test_time_passes_by_the_processs_own_clock() -> None:
    fast = Process(drift_ppm=100_000.0)
    fast.run(fast.talk(), 2.0)
    assert fast.said == [("begins", 0.0), ("goes on", 0.91)]


def test_callbacks_of_one_moment_run_in_the_order_in_which_they_were_asked_for(process: Process) -> None:
    for name in "abc":
        process.loop.call_soon(process.say, name)
    process.loop.call_later(0.5, process.say, "late").cancel()
    process.loop.call_later(0.5, process.say, "later")
    process.timeline.run_until(1.0)
    assert [what for what, _ in process.said] == ["a", "b", "c", "later"]


def test_timeouts_events_and_waits_work(process: Process) -> None:
    async def work() -> None:
        event = asyncio.Event()
        waiting = asyncio.ensure_future(event.wait())
        assert await asyncio.wait({waiting}, timeout=0.2) == (set(), {waiting})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.shield(waiting)
        process.say("timed out")
        event.set()
        await waiting
        process.say("set")

    process.run(work(), 2.0)
    assert process.said == [("timed out", 0.5), ("set", 0.5)]


def test_a_stopped_process_goes_on_where_it_was_and_its_timers_are_late(process: Process) -> None:
    process.run(process.talk(), 0.5)
    process.loop.freeze()
    process.timeline.run_until(3.0)
    assert process.said == [("begins", 0.0)]
    process.loop.thaw()
    process.timeline.run_until(4.0)
    assert process.said == [("begins", 0.0), ("goes on", 3.0)]


def test_nothing_of_a_killed_process_happens_any_more(process: Process) -> None:
    async def cleans_up() -> None:
        try:
            await process.talk()
        finally:
            process.say("cleaned up")

    process.run(cleans_up(), 0.5)
    process.loop.die()
    process.loop.call_soon(process.say, "after death")
    process.timeline.run_until(3.0)
    assert process.said == [("begins", 0.0)]
    process.loop.close()


def test_an_error_that_nobody_waits_for_ends_the_world(process: Process) -> None:
    def breaks() -> None:
        raise ZeroDivisionError

    process.loop.call_later(0.5, breaks)
    with pytest.raises(ZeroDivisionError):
        process.timeline.run_until(1.0)
    assert asyncio._get_running_loop() is None


def test_a_process_that_is_always_busy_does_not_stop_the_world(process: Process) -> None:
    async def spins() -> None:
        while True:  # noqa: ASYNC110  # that is the point
            await asyncio.sleep(0)

    process.run(spins(), 0.01)
    assert process.timeline.now_s == 0.01
    process.loop.close()


def test_work_of_another_thread_happens_later_and_is_waited_for(process: Process) -> None:
    async def asks() -> None:
        process.say(await asyncio.to_thread(lambda: f"worked at {process.timeline.now_s > 0.0}"))

    process.run(asks(), 1.0)
    assert [what for what, _ in process.said] == ["worked at True"]


def test_an_error_of_another_thread_reaches_who_waits(process: Process) -> None:
    def breaks() -> None:
        raise OSError("no such disk")

    async def asks() -> None:
        with pytest.raises(OSError, match="no such disk"):
            await asyncio.to_thread(breaks)
        process.say("heard")

    process.run(asks(), 1.0)
    assert [what for what, _ in process.said] == ["heard"]


def test_what_would_wait_while_it_cleans_up_is_let_go_of_as_well(process: Process) -> None:
    async def cleans_up_for_ever() -> None:
        try:
            await asyncio.sleep(10.0)
        finally:
            process.say("cleans up")
            await asyncio.sleep(10.0)

    process.run(cleans_up_for_ever(), 1.0)
    process.loop.close()
    assert [what for what, _ in process.said] == ["cleans up"]
