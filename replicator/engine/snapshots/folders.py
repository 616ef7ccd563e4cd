"""Where a node keeps snapshots, and what storage does with them: implements exchange.SnapshotStore."""

import shutil
from pathlib import Path

from replicator.engine.settings import EngineSettings
from replicator.model.conditions import Problem
from replicator.model.ids import ClusterId
from replicator.model.log import HardState, SnapshotManifest
from replicator.storage.failures import SnapshotFailed
from replicator.storage.snapshots.requests import (
    INCOMING_DIR,
    SNAPSHOTS_DIR,
    make_snapshot,
    prepare_snapshot,
    remove_snapshots,
    snapshot_file,
)
from replicator.storage.snapshots.room import missing_room
from replicator.storage.storage import Storage


class SnapshotFiles:
    """Two folders in the data directory: what this node has made, and what it fetches."""

    def __init__(self, storage: Storage, settings: EngineSettings) -> None:
        self._storage, self._settings = storage, settings
        self._made = storage.path / SNAPSHOTS_DIR
        self._incoming = storage.path / INCOMING_DIR
        self._prepared = self._incoming / "prepared"

    async def make(self) -> SnapshotManifest:
        """A snapshot of what is applied now. Raises SnapshotFailed, DiskFull, CorruptData."""
        if not self._storage.is_in_place():  # a process of its own makes it, by the path
            raise SnapshotFailed(f"{self._storage.path}: the directory is not the one that this node has open")
        return await make_snapshot(self._storage.path, self._made)

    async def prepare(self, file: Path, manifest: SnapshotManifest, hard_state: HardState) -> Path:
        """A fetched file, verified and made this node's own. Raises SnapshotRefused, DiskFull, SnapshotFailed."""
        await prepare_snapshot(
            file,
            manifest,
            cluster_id=ClusterId(self._settings.cluster_id),
            node_id=self._settings.node_id,
            hard_state=hard_state,
            prepared_dir=self._prepared,
        )
        return self._prepared

    def missing_room(self, manifest: SnapshotManifest) -> Problem | None:
        """What the node lacks for fetching and installing it; None if nothing."""
        file = self.incoming_file(manifest.snapshot_id)
        return missing_room(file, manifest.size_bytes, size_max_bytes=self._storage.size_max_bytes)

    def incoming_file(self, snapshot_id: str) -> Path:
        """Where a fetched snapshot goes; a part that is there already is resumed. Parts of others are removed."""
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        wanted = self._incoming / snapshot_id
        for other in self._incoming.iterdir():
            if other.is_file() and other != wanted:
                other.unlink(missing_ok=True)
        return wanted

    def keep_only(self, snapshot_id: str | None) -> None:
        """Removes what was made, but for one."""
        if self._made.is_dir():
            remove_snapshots(self._made, {snapshot_id} if snapshot_id is not None else set())

    def forget_incoming(self) -> None:
        """Removes what was fetched and prepared."""
        shutil.rmtree(self._incoming, ignore_errors=True)

    def file(self, snapshot_id: str) -> Path | None:
        """A snapshot that is still held."""
        file = snapshot_file(self._made, snapshot_id)
        return file if file.is_file() else None
