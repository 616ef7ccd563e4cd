"""Brings blocking storage calls to threads of their own, so that the loop never waits for a disk.

Two threads: commits on one, so that nothing queues before them; long reads on the other.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from replicator.model.errors import Overloaded
from replicator.model.log import TurnWrite
from replicator.storage.storage import Storage
from replicator.v1 import store_pb2

READS_PENDING_MAX: Final = 64

T = TypeVar("T")


class StorageWriter:
    """Used from one event loop. The caller commits one turn at a time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._commits = ThreadPoolExecutor(1, thread_name_prefix="storage-commit")
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="storage-read")
        self._reads_pending = 0

    async def commit(self, write: TurnWrite) -> list[list[store_pb2.Outcome]]:
        """`Storage.commit` on its thread. If the waiting task is cancelled, the commit still happens."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._commits, self._storage.commit, write))

    async def install(self, prepared_dir: Path) -> None:
        """`Storage.install` on the thread of commits. If the waiting task is cancelled, it still happens."""
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(self._commits, self._storage.install, prepared_dir))

    async def run(self, work: Callable[[], T]) -> T:
        """Any other blocking call (state hash, large scan). Raises Overloaded if READS_PENDING_MAX wait already."""
        if self._reads_pending >= READS_PENDING_MAX:
            raise Overloaded(f"{READS_PENDING_MAX} long reads are waiting already; try again", retry_after_s=1.0)
        self._reads_pending += 1
        future = asyncio.get_running_loop().run_in_executor(self._reads, work)
        future.add_done_callback(self._read_done)
        return await future

    async def close(self) -> None:
        """Waits for what runs; reads that have not begun are dropped. The storage stays open."""
        await asyncio.to_thread(self._commits.shutdown)
        await asyncio.to_thread(self._reads.shutdown, cancel_futures=True)

    def _read_done(self, _future: object) -> None:
        self._reads_pending -= 1
