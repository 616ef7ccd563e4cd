"""Who makes, offers, fetches and installs snapshots, and when. The manifest goes through Raft, the bytes beside it.

Leader: once some follower lacks what the log no longer holds, one snapshot is made for all of them, off the loop and
out of the process, and offered until nobody lacks. Follower: fetches what it is offered, has it verified, and takes it
over between two turns. Nothing of a node's own data is touched before the last step, and that step is atomic.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from replicator.engine.replica import Replica
from replicator.model.errors import StorageFailed
from replicator.model.ids import NodeId
from replicator.model.log import HardState, SnapshotManifest
from replicator.storage.failures import DiskFull, SnapshotFailed, SnapshotRefused
from replicator.transport.ports import SnapshotUnavailable

_LOG = logging.getLogger(__name__)

OFFER_EVERY_S: Final = 2.0  # offers may be lost
FETCH_TIMEOUT_S: Final = 3600.0
_TRY_AGAIN: Final = (SnapshotFailed, SnapshotRefused, SnapshotUnavailable, DiskFull, OSError)
KEEP_S: Final = 60.0  # a snapshot that nobody lacks any more is kept this long, for the one that restarts meanwhile


class SnapshotStore(Protocol):
    """What storage does for snapshots; every call is off the loop."""

    async def make(self) -> SnapshotManifest: ...

    async def prepare(self, file: Path, manifest: SnapshotManifest, hard_state: HardState) -> Path:
        """Verifies a fetched file and makes it ready to be installed. Raises SnapshotRefused."""
        ...

    def incoming_file(self, snapshot_id: str) -> Path: ...

    def keep_only(self, snapshot_id: str | None) -> None:
        """Removes all other snapshots that this node has made."""
        ...

    def forget_incoming(self) -> None:
        """Removes what was fetched and prepared."""
        ...

    def file(self, snapshot_id: str) -> Path | None:
        """A snapshot that this node has made and still holds."""
        ...


class SnapshotFetcher(Protocol):
    """The transport as far as snapshots go."""

    async def fetch_snapshot(
        self, peer: NodeId, snapshot_id: str, *, target: Path, size_bytes: int, timeout_s: float
    ) -> None: ...


Install = Callable[[Path, SnapshotManifest], Awaitable[bool]]


class Snapshots:
    """Runs at most one making and one taking at a time. `replica` is asked anew each time: it may be reborn."""

    def __init__(
        self,
        store: SnapshotStore,
        *,
        replica: Callable[[], Replica],
        wake: Callable[[], None],
        install: Install,
    ) -> None:
        self._store, self._replica, self._wake, self._install = store, replica, wake, install
        self._fetcher: SnapshotFetcher | None = None
        self._serving: asyncio.Task[None] | None = None
        self._taking: asyncio.Task[None] | None = None
        self._stopped = False

    def connect(self, fetcher: SnapshotFetcher) -> None:
        """Where bytes come from."""
        self._fetcher = fetcher

    def after_turn(self) -> None:
        """Looks at what the turn has left to do."""
        if self._stopped:
            return
        replica = self._replica()
        if replica.lacking() and self._serving is None:
            self._serving = asyncio.create_task(self._serve(), name="snapshot-serve")
            self._serving.add_done_callback(self._served)
        if replica.offered is not None:
            (peer, manifest), replica.offered = replica.offered, None
            if self._taking is None and self._fetcher is not None:
                self._taking = asyncio.create_task(self._take(self._fetcher, peer, manifest), name="snapshot-take")
                self._taking.add_done_callback(self._taken)

    def file(self, snapshot_id: str) -> Path | None:
        """A snapshot to send to a peer that asks for it."""
        return self._store.file(snapshot_id)

    async def stop(self) -> None:
        """Ends what runs, for good: turns may go on for a moment, and the storage is closed after that."""
        self._stopped = True
        tasks = [task for task in (self._serving, self._taking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self) -> None:
        """Makes one snapshot and offers it until nobody lacks; makes a newer one if the log has left it behind."""
        manifest: SnapshotManifest | None = None
        idle_s = 0.0
        while idle_s < KEEP_S:
            lacking = self._replica().lacking()
            if lacking and (manifest is None or manifest.index < self._replica().journal.first_index):
                manifest = await self._make()
            if lacking and manifest is not None:
                idle_s = 0.0
                for peer in sorted(lacking):
                    self._replica().offer_snapshot(peer, manifest)
                self._wake()
            await asyncio.sleep(OFFER_EVERY_S)
            idle_s += OFFER_EVERY_S
        self._store.keep_only(None)

    async def _make(self) -> SnapshotManifest | None:
        try:
            manifest = await self._store.make()
        except _TRY_AGAIN as error:
            _LOG.warning("a snapshot could not be made, will try again: %s", error)
            return None
        _LOG.info("snapshot made id=%s bytes=%d", manifest.snapshot_id, manifest.size_bytes)
        self._store.keep_only(manifest.snapshot_id)
        return manifest

    async def _take(self, fetcher: SnapshotFetcher, peer: NodeId, manifest: SnapshotManifest) -> None:
        file = self._store.incoming_file(manifest.snapshot_id)
        try:
            await fetcher.fetch_snapshot(
                peer, manifest.snapshot_id, target=file, size_bytes=manifest.size_bytes, timeout_s=FETCH_TIMEOUT_S
            )
            prepared = await self._store.prepare(file, manifest, self._replica().journal.durable_hard_state)
            if await self._install(prepared, manifest):
                _LOG.info("snapshot installed id=%s from=%s", manifest.snapshot_id, peer)
        except _TRY_AGAIN as error:
            _LOG.warning("snapshot %s from %s was not taken over: %s", manifest.snapshot_id, peer, error)
        else:
            self._store.forget_incoming()

    def _served(self, task: "asyncio.Task[None]") -> None:
        self._serving = None
        _tell_of_bug(task)

    def _taken(self, task: "asyncio.Task[None]") -> None:
        self._taking = None
        _tell_of_bug(task)


def _tell_of_bug(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        level = logging.CRITICAL if isinstance(error, StorageFailed) else logging.ERROR
        _LOG.log(level, "snapshot task failed: %s", error, exc_info=error)
