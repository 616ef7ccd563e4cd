"""What the shipped engine/snapshots meet in a simulated node: how long making, carrying and preparing take, and fail.

A node makes and prepares snapshots in processes of their own, and fetches them over streams. Here a copy of the data
file stands for the consistent read, and delays for the processes and the way.
"""

import asyncio
import errno
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from replicator.engine.snapshots.folders import SnapshotFiles
from replicator.model.ids import ClusterId, NodeId
from replicator.model.log import HardState, SnapshotManifest
from replicator.storage.env import DATA_FILE, READER_TABLE_FILE
from replicator.storage.failures import DiskFull
from replicator.storage.snapshots.checking import Preparation, prepare
from replicator.storage.snapshots.making import make
from replicator.storage.snapshots.requests import SNAPSHOTS_DIR, snapshot_file
from replicator.storage.storage import Storage
from replicator.transport.ports import FetchFailure, SnapshotUnavailable

if TYPE_CHECKING:
    from chaos.simulation.node import SimNode

PREPARE_S_MAX = 0.05


@dataclass(slots=True)
class SnapshotWays:
    """Of one place, whatever process runs there.

    source_file: a peer's snapshot, None if it cannot be reached now. power_fails: during the installation that begins
    now; the node is started again by who says so. made, made_for_leader: how many, and how many of them while another
    node led.
    """

    dice: random.Random
    source_file: Callable[[NodeId, str], Path | None]
    transfer_s: float
    power_fails: Callable[[], bool]
    made: int = 0
    made_for_leader: int = 0
    installed: int = 0


class SimSnapshotFiles(SnapshotFiles):
    """The shipped folders. Makes and prepares by the shipped code, in this process."""

    def __init__(self, node: "SimNode", ways: SnapshotWays, storage: Storage) -> None:
        super().__init__(storage, node.settings)
        self._node, self._ways = node, ways
        self.prepared_manifest: SnapshotManifest | None = None

    async def make(self) -> SnapshotManifest:
        """Raises SnapshotFailed, DiskFull."""
        await asyncio.sleep(0.05 + self._ways.dice.random() * 0.5)
        self._look_for_room()
        still = self._node.directory / "still"
        shutil.rmtree(still, ignore_errors=True)
        still.mkdir()
        try:
            for name in (DATA_FILE, READER_TABLE_FILE):
                shutil.copyfile(self._node.directory / name, still / name)
            manifest = make(still, self._node.directory / SNAPSHOTS_DIR)
        finally:
            shutil.rmtree(still, ignore_errors=True)
        self._ways.made += 1
        self._ways.made_for_leader += self._node.replica is not None and not self._node.replica.graft.is_leader
        return manifest

    async def prepare(self, file: Path, manifest: SnapshotManifest, hard_state: HardState) -> Path:
        """Raises SnapshotRefused, DiskFull."""
        await asyncio.sleep(self._ways.dice.random() * PREPARE_S_MAX)
        self._look_for_room()
        cluster_id, node_id = ClusterId(self._settings.cluster_id), self._settings.node_id
        prepare(Preparation(file, manifest, cluster_id, node_id, hard_state, self._prepared))
        self.prepared_manifest = manifest
        return self._prepared

    async def fetch_snapshot(
        self,
        peer: NodeId,
        snapshot_id: str,
        *,
        target: Path,
        size_bytes: int,  # noqa: ARG002  # of a file that is copied whole
        timeout_s: float,  # noqa: ARG002
    ) -> None:
        """Implements exchange.SnapshotFetcher. Raises SnapshotUnavailable."""
        await asyncio.sleep(self._ways.transfer_s * (0.5 + 2.0 * self._ways.dice.random()))
        try:
            self._look_for_room()
        except DiskFull as error:
            raise SnapshotUnavailable(FetchFailure.DISK, str(error)) from error
        file = self._ways.source_file(peer, snapshot_id)
        if file is None:
            raise SnapshotUnavailable(FetchFailure.GONE, "nothing can be fetched from there now")
        shutil.copyfile(file, target)

    def _look_for_room(self) -> None:
        if self._node.has_no_room:
            raise DiskFull(os.strerror(errno.ENOSPC))


def held_by(node: "SimNode", snapshot_id: str) -> Path | None:
    """A snapshot file of a node that runs."""
    file = snapshot_file(node.directory / SNAPSHOTS_DIR, snapshot_id)
    return file if node.replica is not None and file.is_file() else None
