"""A deterministic asyncio loop on virtual time: one simulated process. No selector, no threads; a seed decides all.

Timers, tasks and callbacks run in the order in which they are due, ties in the order in which they were asked for. A
process can stand still (SIGSTOP) and die (SIGKILL): what was planned then waits, or never happens.
"""

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from contextvars import Context
from functools import partial
from typing import Any, Final, TypeVar, TypeVarTuple

from chaos.simulation.timeline import NodeClock, Timeline

ITERATION_S: Final = 3e-6  # of virtual time; so a process that is always busy does not stop the world
THREAD_S: Final = 2e-4  # until a thread begins, and until the loop hears that it has ended
CLEANUPS_MAX: Final = 100  # that one coroutine may have under way
TIMER_S_MIN: Final = 1e-5  # a timer is never exact: what was asked for by one clock is due by it

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class NodeLoop(asyncio.AbstractEventLoop):
    """What the tasks of one simulated process run on. Time is that of its own clock, which may drift."""

    def __init__(self, timeline: Timeline, clock: NodeClock) -> None:
        self._timeline, self._clock = timeline, clock
        self._ready: deque[asyncio.Handle] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()  # asyncio itself holds them weakly
        self._is_planned = self._is_frozen = self._is_dead = False
        self._failure: BaseException | None = None

    # A process -----------------------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """SIGSTOP: nothing runs, timers fall due."""
        self._is_frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        self._is_frozen = False
        if self._ready:
            self._plan()

    def die(self) -> None:
        """SIGKILL: nothing of this process happens any more, not even what it would clean up."""
        self._is_dead = True

    def close(self) -> None:
        """After the world has ended: lets go of what never went on."""
        self.die()
        for task in self._tasks:
            coroutine = task.get_coro()
            if isinstance(coroutine, Coroutine):
                _close(coroutine)

    def fail(self, error: BaseException) -> None:
        """The world ends with this error, once the callback in hand has ended."""
        self._failure = self._failure or error

    # asyncio.AbstractEventLoop -------------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds by this process's monotonic clock."""
        return self._clock.monotonic_s()

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """In the next iteration, after all that was asked for before."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._plan()
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """delay: seconds by this process's clock."""
        timer = asyncio.TimerHandle(self.time() + delay, callback, args, self, context)
        self._timeline.after(max(self._clock.timeline_s(delay), TIMER_S_MIN), lambda: self._is_due(timer))
        return timer

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """when: by this process's clock."""
        return self.call_later(when - self.time(), callback, *args, context=context)

    def create_future(self) -> "asyncio.Future[Any]":
        """Bound to this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> "asyncio.Task[T]":
        """Begins in the next iteration."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002  # all threads are alike
        func: Callable[[*Ts], T],
        *args: *Ts,
    ) -> "asyncio.Future[T]":
        """Work of another thread: it happens at one moment, a while from now, and is told of a while after that."""
        done: asyncio.Future[T] = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:
                self.call_later(THREAD_S, tell, partial(done.set_exception, error))
            else:
                self.call_later(THREAD_S, tell, partial(done.set_result, result))

        def tell(settle: Callable[[], None]) -> None:
            if not done.done():
                settle()

        self.call_later(THREAD_S, work)
        return done

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody waits for is a fault of the shipped code: the world ends with it."""
        if not self._is_dead:
            self.fail(context.get("exception") or RuntimeError(context["message"]))

    def get_debug(self) -> bool:
        """Never."""
        return False

    def _timer_handle_cancelled(self, timer: asyncio.TimerHandle) -> None:
        """It stays planned, and does nothing."""

    # ---------------------------------------------------------------------------------------------------------------

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """Some tasks log any error and go on. In a world that is judged, a bug is never passed over."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, AssertionError):  # a Violation is one
            self.fail(error)

    def _is_due(self, timer: asyncio.TimerHandle) -> None:
        if not timer.cancelled() and not self._is_dead:
            self._ready.append(timer)
            self._plan()

    def _plan(self) -> None:
        if not self._is_planned and not self._is_frozen:
            self._is_planned = True
            self._timeline.after(ITERATION_S, self._iterate)

    def _iterate(self) -> None:
        """All that was ready when it began, as asyncio.BaseEventLoop has it."""
        self._is_planned = False
        outer = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for _ in range(len(self._ready)):
                if self._is_dead or self._is_frozen:
                    break
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
                if self._failure is not None:
                    raise self._failure
        finally:
            events._set_running_loop(outer)
        if self._ready and not self._is_dead:
            self._plan()


def _close(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Also one that would wait while it cleans up: each time it does, it is told again."""
    for _ in range(CLEANUPS_MAX):
        try:
            coroutine.close()
        except RuntimeError:
            continue
        return
    raise AssertionError(f"{coroutine!r} does not end")
