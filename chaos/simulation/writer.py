"""The disk under a simulated process: the shipped storage, and how long a commit takes and how it may end."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from chaos.simulation import power
from chaos.simulation.snapshots import SimSnapshotFiles
from replicator.model.errors import StorageFailed, Superseded
from replicator.model.log import Entry, TurnWrite
from replicator.storage.failures import DiskFull
from replicator.storage.storage import Storage
from replicator.v1 import store_pb2

if TYPE_CHECKING:
    from chaos.simulation.node import SimNode


class SimWriter:
    """Implements engine.ports.EngineWriter in place of storage.writer.StorageWriter, which has threads.

    uncommitted: what is being written now; of this a power failure leaves all or nothing.
    """

    def __init__(self, node: "SimNode", storage: Storage, files: SimSnapshotFiles) -> None:
        self._node, self._storage, self._files, self._dice = node, storage, files, node.dice
        self.uncommitted: TurnWrite | None = None

    def apply(self, entries: Sequence[Entry]) -> list[list[store_pb2.BatchOutcome]]:
        """In memory."""
        outcomes = self._storage.apply(entries)
        assert len(outcomes) == len(entries), "a simulated turn is small"
        return outcomes

    def flush_soon(self) -> None:
        """Before or after the commit of the turn in hand; or not now."""
        if self._dice.random() < self._node.flushes:
            delay_s = self._node.commit_s * self._dice.random() * 3
            asyncio.get_running_loop().call_later(delay_s, self._flush_now)

    async def commit(self, write: TurnWrite) -> list[list[store_pb2.BatchOutcome]]:
        """Raises DiskFull, StorageFailed."""
        node = self._node
        slow = node.timeline.now_s < node.slow_until_s
        delay_s = (
            node.slow_s * (0.2 + self._dice.random()) if slow else node.commit_s * (0.5 + self._dice.expovariate(2))
        )
        done = self._dice.random()  # the rest is the way back from the thread that commits
        self.uncommitted = write
        await asyncio.sleep(delay_s * done)
        if node.has_no_room:
            self.uncommitted = None
            raise DiskFull("no room")
        if node.power_fails:
            node.lose_power()
            await never()
        self.uncommitted = None
        if node.sync_fails:
            left = power.unsynced(self._storage, write, self._dice)
            node.cuts[f"commit: {left.step}"] += 1
            if left.turn:
                node.landed(write)
            raise StorageFailed("a sync has failed")
        outcomes = self._storage.commit(write)
        node.landed(write)
        await asyncio.sleep(delay_s * (1 - done))
        return outcomes

    async def flush(self) -> None:
        """The state follows the log. Raises DiskFull."""
        await asyncio.sleep(self._node.commit_s * self._dice.random() * 3)
        if self._node.has_no_room:
            raise DiskFull("no room")
        self._flush_now()

    async def install(self, prepared_dir: Path) -> None:
        """What was prepared last. Raises SnapshotRefused."""
        ways, manifest = self._node.ways, self._files.prepared_manifest
        assert ways is not None
        assert manifest is not None
        if ways.power_fails():
            self._node.lose_power_installing(prepared_dir, manifest)
            await never()
        self._storage.install(prepared_dir)
        ways.installed += 1
        self._node.disk.replaced(manifest, self._storage.position)

    async def mark_superseded(self, why: str) -> Superseded:
        """The directory never acts again."""
        return self._storage.mark_superseded(why)

    def _flush_now(self) -> None:
        self._node.flush(self._storage)


async def never() -> NoReturn:
    """What a process does that has just died."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("a dead process goes on")
