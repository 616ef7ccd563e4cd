"""Makes, fetches and installs snapshots, off the loop. The manifest goes through Raft, the bytes beside it.

duties.py decides which node serves which. A source makes one snapshot for all its receivers, out of the
process, and offers it as long as it is needed. Who is offered one fetches it, has it verified, and takes it over
between two turns. Nothing of a node's own data is touched before the last step, and that step is atomic.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from replicator.engine.replica import Turning
from replicator.engine.snapshots.duties import SnapshotDuties
from replicator.engine.snapshots.providing import SnapshotProviding
from replicator.engine.snapshots.storing import SnapshotStoring
from replicator.model.conditions import Problem
from replicator.model.errors import StorageFailed
from replicator.model.ids import NodeId
from replicator.model.log import HardState, SnapshotManifest
from replicator.storage.failures import DiskFull, SnapshotFailed, SnapshotRefused
from replicator.transport.ports import FetchFailure, SnapshotUnavailable

_LOG = logging.getLogger(__name__)

FETCH_TIMEOUT_S: Final = 3600.0
KEEP_S: Final = 60.0  # a snapshot that nobody needs any more is kept this long, for the one that restarts meanwhile
_TRY_AGAIN: Final = (SnapshotFailed, SnapshotRefused, SnapshotUnavailable, DiskFull, OSError)
_OWN_FAULT: Final = (FetchFailure.DISK, FetchFailure.STOPPING)  # no other source would help


class SnapshotStore(Protocol):
    """What storage does for snapshots; every call is off the loop."""

    async def make(self) -> SnapshotManifest: ...

    async def prepare(self, file: Path, manifest: SnapshotManifest, hard_state: HardState) -> Path:
        """Verifies a fetched file and makes it ready to be installed. Raises SnapshotRefused."""
        ...

    def missing_room(self, manifest: SnapshotManifest) -> Problem | None:
        """What the node lacks for fetching and installing it; None if nothing. Raises OSError."""
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
    """Runs at most one making and one taking at a time. The replica is asked for anew each time: it may be reborn."""

    def __init__(
        self,
        store: SnapshotStore,
        turns: Turning,
        *,
        install: Install,
        storing: SnapshotStoring,
        can_make: SnapshotProviding,
    ) -> None:
        self._store, self._turns, self._install, self._storing = store, turns, install, storing
        self._can_make = can_make
        self._fetcher: SnapshotFetcher | None = None
        self._held: SnapshotManifest | None = None
        self._serving: asyncio.Task[None] | None = None
        self._making: asyncio.Task[None] | None = None
        self._taking: asyncio.Task[None] | None = None
        self._installing = False
        self._stopped = False

    def connect(self, fetcher: SnapshotFetcher) -> None:
        """Where bytes come from."""
        self._fetcher = fetcher

    def after_turn(self) -> None:
        """Looks at what the turn has left to do."""
        if self._stopped:
            return
        self._storing.reached(self._turns.replica.applied_index)
        duties = self._turns.replica.snapshots
        if self._serving is None and not self._installing and duties.has_any():
            self._serving = asyncio.create_task(self._serve(), name="snapshot-serve")
            self._serving.add_done_callback(self._served)
        if duties.offered is not None:
            (peer, manifest), duties.offered = duties.offered, None
            if self._taking is None and self._fetcher is not None and self._storing.may_try():
                self._taking = asyncio.create_task(self._take(self._fetcher, peer, manifest), name="snapshot-take")
                self._taking.add_done_callback(self._taken)

    def file(self, snapshot_id: str) -> Path | None:
        """A snapshot to send to a peer that asks for it."""
        return self._store.file(snapshot_id)

    async def stop(self) -> None:
        """Ends what runs, for good: turns may go on for a moment, and the storage is closed after that."""
        self._stopped = True
        await _ended(self._serving, self._taking)
        await _ended(self._making)  # which the other two may have begun

    # Serving -------------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """One period after the other, until this node has not been needed for a while."""
        idle_s = 0.0
        while idle_s < KEEP_S:
            duties = self._turns.replica.snapshots
            if duties.has_any():
                idle_s = 0.0
                self._step()
            await asyncio.sleep(duties.period_s)
            idle_s += duties.period_s
        await _ended(self._making)
        self._held = None
        self._store.keep_only(None)
        self._can_make.not_needed()

    def _step(self) -> None:
        if self._held is not None and self._store.file(self._held.snapshot_id) is None:
            self._held = None  # another process removed it
        duties = self._turns.replica.snapshots
        if duties.step(self._held, making=self._making is not None):
            self._begin_making(duties)
        self._turns.wake()

    def _begin_making(self, duties: SnapshotDuties) -> None:
        if self._can_make.may_try():
            self._making = asyncio.create_task(self._make(), name="snapshot-make")
            self._making.add_done_callback(self._made)
        else:  # others need not wait for what has just failed
            duties.could_not_make(self._can_make.why)

    async def _make(self) -> None:
        try:
            manifest = await self._store.make()
        except _TRY_AGAIN as error:
            self._cannot_make(str(error) or type(error).__name__)
        else:
            _LOG.info("snapshot made id=%s bytes=%d", manifest.snapshot_id, manifest.size_bytes)
            self._can_make.made()
            self._held = manifest
            self._store.keep_only(manifest.snapshot_id)
            self._turns.replica.snapshots.made(manifest)
        self._turns.wake()

    # Taking --------------------------------------------------------------------------------------------------------

    async def _take(self, fetcher: SnapshotFetcher, peer: NodeId, manifest: SnapshotManifest) -> None:
        try:
            missing = self._store.missing_room(manifest)
            if missing is not None:
                self._storing.no_room(missing, manifest.index)
                return
            prepared = await self._fetch(fetcher, peer, manifest)
            self._storing.stored()
            if await self._install_alone(prepared, manifest):
                _LOG.info("snapshot installed id=%s from=%s", manifest.snapshot_id, peer)
        except _TRY_AGAIN as error:
            _LOG.warning("snapshot %s from %s was not installed: %s", manifest.snapshot_id, peer, error)
            if _is_of_the_disk(error):
                self._storing.failed(str(error), manifest.index)
        else:
            self._store.forget_incoming()

    async def _fetch(self, fetcher: SnapshotFetcher, peer: NodeId, manifest: SnapshotManifest) -> Path:
        """Fetched, verified, ready. The leader hears of what another source could mend. Raises what `_take` catches."""
        file = self._store.incoming_file(manifest.snapshot_id)
        try:
            await fetcher.fetch_snapshot(
                peer, manifest.snapshot_id, target=file, size_bytes=manifest.size_bytes, timeout_s=FETCH_TIMEOUT_S
            )
            return await self._store.prepare(file, manifest, self._turns.replica.journal.durable_hard_state)
        except SnapshotUnavailable as error:
            if error.reason not in _OWN_FAULT:
                self._complain_of(peer)
            raise
        except SnapshotRefused:
            self._store.forget_incoming()  # or it would be found whole, and refused, for ever
            self._complain_of(peer)
            raise

    def _complain_of(self, source: NodeId) -> None:
        self._turns.replica.snapshots.could_not_take(source)
        self._turns.wake()

    async def _install_alone(self, prepared: Path, manifest: SnapshotManifest) -> bool:
        """No snapshot may be made of data that are being replaced."""
        self._installing = True
        try:
            await _ended(self._serving)
            await _ended(self._making)
            return await self._install(prepared, manifest)
        finally:
            self._installing = False

    # -----------------------------------------------------------------------------------------------------------------

    def _served(self, task: "asyncio.Task[None]") -> None:
        self._serving = None
        _tell_of_bug(task)

    def _made(self, task: "asyncio.Task[None]") -> None:
        self._making = None
        if _tell_of_bug(task):  # this node's own data may be damaged: another one may serve
            self._cannot_make("it met an error; see its log")
            self._turns.wake()

    def _cannot_make(self, why: str) -> None:
        self._can_make.failed(why)
        self._turns.replica.snapshots.could_not_make(why)

    def _taken(self, task: "asyncio.Task[None]") -> None:
        self._taking = None
        _tell_of_bug(task)


def _is_of_the_disk(error: Exception) -> bool:
    """SnapshotFailed: the process that prepares it met an error of the system, such as a failed sync."""
    if isinstance(error, SnapshotUnavailable):
        return error.reason is FetchFailure.DISK
    return isinstance(error, DiskFull | SnapshotFailed | OSError)


async def _ended(*tasks: "asyncio.Task[None] | None") -> None:
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def _tell_of_bug(task: "asyncio.Task[None]") -> bool:
    """True if there was one."""
    if task.cancelled() or (error := task.exception()) is None:
        return False
    level = logging.CRITICAL if isinstance(error, StorageFailed) else logging.ERROR
    _LOG.log(level, "snapshot task failed: %s", error, exc_info=error)
    return True
