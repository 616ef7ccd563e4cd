"""Callers that wait until this node holds an index, in memory or on disk. Bounded; answered in index order."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Final

from replicator.model.errors import Overloaded, ReplicaBehind
from replicator.model.ids import LogIndex

WAITING_MAX: Final = 65_536


class AppliedWaits:
    """A heap of (index, future). Used on one loop."""

    def __init__(self, applied_index: LogIndex) -> None:
        self._applied = applied_index
        self._heap: list[tuple[LogIndex, int, asyncio.Future[None]]] = []
        self._tie = itertools.count()
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Is called whenever more is held. It must be short, and must not raise."""
        self._listeners.append(listener)

    async def wait(self, index: LogIndex, *, timeout_s: float) -> None:
        """Returns once `index` is held. Raises ReplicaBehind in time, Overloaded beyond WAITING_MAX waiters."""
        if index <= self._applied:
            return
        if len(self._heap) >= WAITING_MAX:
            self._heap = [entry for entry in self._heap if not entry[2].done()]  # those who gave up
            heapq.heapify(self._heap)
        if len(self._heap) >= WAITING_MAX:
            raise Overloaded(f"{WAITING_MAX} reads already wait for this replica", retry_after_s=0.05)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._heap, (index, next(self._tie), future))
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            raise ReplicaBehind(
                f"this replica has applied {self._applied}, the read needs {index}, and {timeout_s:.3g} s were not "
                "enough to catch up; retry, or ask another node",
                metadata={"applied_index": str(self._applied), "wanted_index": str(index)},
                retry_after_s=0.05,
            ) from None

    def applied(self, index: LogIndex) -> None:
        """All up to `index` is held."""
        self._applied = index
        while self._heap and self._heap[0][0] <= index:
            future = heapq.heappop(self._heap)[2]
            if not future.done():
                future.set_result(None)
        for listener in self._listeners:
            listener()

    def fail_all(self, error: Exception) -> None:
        """The node stops."""
        heap, self._heap = self._heap, []
        for _index, _tie, future in heap:
            if not future.done():
                future.set_exception(error)
