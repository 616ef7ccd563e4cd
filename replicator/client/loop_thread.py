"""The event loop of all clients without async in a process: on a thread of its own, which lives while one of them does.

One loop and not one for each client: gRPC wakes every loop of a process for each event of any of them.

Invariant: each call that is handed to the loop ends, also if the loop ends: it is scheduled under the lock before the
end is, so the loop sees it first, and cancels what is left before it stops.

Locks are re-entrant, since a collector of garbage may call `spawn` on a thread that holds one.
"""

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Final, Protocol, TypeVar

from replicator.client.belonging import check_process
from replicator.model.errors import OutcomeUnknown

T = TypeVar("T")

STOP_S_MAX: Final = 5.0  # for a caller that waits for the end of the thread; the thread goes on to end by itself
# A signal that arrives just before a thread waits for a lock does not end that wait, so a Ctrl-C could be lost.
LOOK_FOR_SIGNALS_S: Final = 1.0
_LAST_WORD_S: Final = 1.0  # for calls under way to end by an error of their own, once their clients are closed


class LoopThread:
    """Use `lease`: the thread begins with the first holder and ends with the last."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._is_ending = False
        # A daemon: a program that ends without closing its clients ends all the same.
        self._thread = threading.Thread(target=self._run, name="replicator-sync", daemon=True)
        self._thread.start()

    def wait_for(self, call: Coroutine[Any, Any, T]) -> T:
        """Runs the call on the loop; its result or what it raises. From any thread but that of the loop.

        An exception that arrives meanwhile, such as KeyboardInterrupt, cancels the call. Raises RuntimeError in a
        process that was forked since, on the loop's own thread, and after its end; OutcomeUnknown if the loop ended
        before the call did.
        """
        try:
            check_process()
            if self.is_current():
                raise RuntimeError("a client without async was called on its own event loop, which it would block")
            with self._lock:
                if self._is_ending or os.getpid() != self._process:
                    raise RuntimeError("the event loop of this client has ended")
                future = asyncio.run_coroutine_threadsafe(call, self._loop)
        except RuntimeError:
            call.close()
            raise
        try:
            while not concurrent.futures.wait((future,), LOOK_FOR_SIGNALS_S).done:
                pass
            return future.result()
        except concurrent.futures.CancelledError as error:
            raise OutcomeUnknown(
                "the client was closed during the call; a write may or may not have happened"
            ) from error
        finally:
            future.cancel()  # it has ended, unless this thread was interrupted

    def spawn(self, call: Coroutine[Any, Any, None]) -> None:
        """For what nobody waits for; from any thread, also amid another call of this object."""
        with self._lock:
            if self._is_ending or os.getpid() != self._process:
                call.close()
                return
            asyncio.run_coroutine_threadsafe(call, self._loop)

    def is_current(self) -> bool:
        """Whether this is the thread of the loop."""
        return threading.current_thread() is self._thread

    def end(self) -> None:
        """Ends all calls under way, then the loop and the thread. Waits for that, unless it is called on the loop."""
        with self._lock:
            if self._is_ending or os.getpid() != self._process:
                return
            self._is_ending = True
            asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop)
        if not self.is_current():
            self._thread.join(STOP_S_MAX)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _wind_up(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            _, late = await asyncio.wait(others, timeout=_LAST_WORD_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        self._loop.stop()


class WaitsFor(Protocol):
    """`LoopThread.wait_for`, or something around it."""

    def __call__(self, call: Coroutine[Any, Any, T]) -> T: ...


def waited(items: AsyncIterator[T], wait_for: WaitsFor) -> Iterator[T]:
    """The items, each waited for when it is asked for."""

    async def next_one() -> tuple[T] | None:
        try:
            return (await anext(items),)
        except StopAsyncIteration:
            return None

    while (found := wait_for(next_one())) is not None:
        yield found[0]


_lock = threading.RLock()
_current: LoopThread | None = None
_holders = 0


def lease() -> LoopThread:
    """The thread of this process. Each `lease` is given back once by `give_back`."""
    global _current, _holders  # noqa: PLW0603  # there is one a process
    with _lock:
        if _current is None:
            _current = LoopThread()
            _holders = 0
        _holders += 1
        return _current


def give_back(leased: LoopThread) -> None:
    """The last holder ends the thread."""
    global _current, _holders  # noqa: PLW0603  # as above
    with _lock:
        if leased is not _current:
            return  # of the process that this one was forked from
        _holders -= 1
        if _holders:
            return
        _current = None
    leased.end()


def _forget() -> None:
    """In a forked process there is no such thread; it may have held the lock when that began."""
    global _lock, _current, _holders
    _lock, _current, _holders = threading.RLock(), None, 0


os.register_at_fork(after_in_child=_forget)
