"""Brings commits to a thread of their own, so that the loop never waits for a disk."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from replicator.model.errors import Superseded
from replicator.model.ids import NodeId
from replicator.model.incarnation import KnownIncarnation
from replicator.model.log import TurnWrite
from replicator.storage.storage import Storage
from replicator.v1 import store_pb2


class StorageWriter:
    """Used from one event loop. The caller commits one turn at a time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._commits = ThreadPoolExecutor(1, thread_name_prefix="storage-commit")

    async def commit(self, write: TurnWrite) -> list[list[store_pb2.Outcome]]:
        """`Storage.commit` on its thread. If the waiting task is cancelled, the commit still happens."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._commits, self._storage.commit, write))

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
        """Waits for what runs. The storage stays open."""
        await asyncio.to_thread(self._commits.shutdown)
