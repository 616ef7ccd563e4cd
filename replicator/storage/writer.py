"""Brings what waits for a disk to threads of its own: commits to one, flushes of the state to another."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from replicator.model.errors import StorageFailed, Superseded
from replicator.model.ids import NodeId
from replicator.model.incarnation import KnownIncarnation
from replicator.model.log import Entry, TurnWrite
from replicator.storage.failures import DiskFull
from replicator.storage.storage import Storage
from replicator.v1 import store_pb2

_LOG = logging.getLogger(__name__)

FLUSH_AGE_S_MAX: Final = 1.0  # what is applied is on its way to the data file after that


class StorageWriter:
    """Used from one event loop. The caller commits one turn at a time; flushes begin by themselves, one at a time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._commits = ThreadPoolExecutor(1, thread_name_prefix="storage-commit")
        self._flushes = ThreadPoolExecutor(1, thread_name_prefix="storage-flush")
        self._flushing: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def apply(self, entries: Sequence[Entry]) -> list[list[store_pb2.BatchOutcome]]:
        """`Storage.apply`, on the loop's thread: it waits for no disk."""
        outcomes = self._storage.apply(entries)
        if outcomes and self._timer is None and not self._is_closed:
            self._flush_later()
        return outcomes

    async def commit(self, write: TurnWrite) -> list[list[store_pb2.BatchOutcome]]:
        """`Storage.commit` on its thread. If the waiting task is cancelled, the commit still happens."""
        loop = asyncio.get_running_loop()
        outcomes = await asyncio.shield(loop.run_in_executor(self._commits, self._storage.commit, write))
        if self._storage.flush_is_due:
            self._begin_flush(self._storage.flush_due)
        return outcomes

    async def flush(self) -> None:
        """`Storage.flush` on its thread, whether or not one is due. Raises DiskFull, StorageFailed."""
        await self._on_its_thread(self._storage.flush)

    async def _on_its_thread(self, flush: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(self._flushes, flush))

    async def install(self, prepared_dir: Path) -> None:
        """`Storage.install` on the thread of commits. If the waiting task is cancelled, it still happens."""
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(self._commits, self._storage.install, prepared_dir))

    async def note_incarnation(self, node_id: NodeId, newest: KnownIncarnation) -> None:
        """`Storage.note_incarnation`, after the commits that were asked for before; it happens, cancelled or not."""
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(self._commits, self._storage.note_incarnation, node_id, newest))

    async def mark_superseded(self, why: str) -> Superseded:
        """`Storage.mark_superseded`, likewise."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._commits, self._storage.mark_superseded, why))

    async def close(self) -> None:
        """Waits for what runs. The storage stays open; closing it flushes the rest."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for threads in (self._commits, self._flushes):
            await asyncio.to_thread(threads.shutdown)

    def _flush_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(FLUSH_AGE_S_MAX, self._flush_aged)

    def _flush_aged(self) -> None:
        self._timer = None
        if self._flushing is None:
            self._begin_flush(self._storage.flush)
        elif not self._is_closed:
            self._flush_later()

    def _begin_flush(self, flush: Callable[[], None]) -> None:
        if self._flushing is not None or self._is_closed:
            return
        self._flushing = asyncio.ensure_future(self._on_its_thread(flush))
        self._flushing.add_done_callback(self._flushed)

    def _flushed(self, flushing: asyncio.Future[None]) -> None:
        """A full disk is found again by the next commit, which says so; any other failure by it too."""
        self._flushing = None
        try:
            flushing.result()
        except asyncio.CancelledError:
            return
        except (DiskFull, StorageFailed) as error:
            _LOG.warning("the state could not be written to disk: %s; the next commit tries again, or says so", error)
            return
        if self._storage.flush_is_due:
            self._begin_flush(self._storage.flush_due)
