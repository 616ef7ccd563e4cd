"""Snapshots between simulated nodes: made, carried and installed by the shipped code, in virtual time.

Only what the real node does in processes and streams of its own is replaced: a copy of the data file stands for the
consistent read, a delay for the transfer.
"""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from replicator.model.ids import ClusterId, NodeId
from replicator.model.log import SnapshotManifest
from replicator.storage.env import DATA_FILE, READER_TABLE_FILE
from replicator.storage.failures import SnapshotFailed, SnapshotRefused
from replicator.storage.snapshot import SNAPSHOTS_DIR, snapshot_file
from replicator.storage.snapshot_checking import Preparation, prepare
from replicator.storage.snapshot_making import make

if TYPE_CHECKING:
    from chaos.simulation.node import SimNode


@dataclass(slots=True)
class SnapshotExchange:
    """One node's part in it: makes for those who lack, takes what it is offered; one of each at a time."""

    node: "SimNode"
    dice: random.Random
    source_file: Callable[[NodeId, str], Path | None]  # a peer's snapshot, None if it cannot be reached now
    transfer_s: float
    made: int = 0
    installed: int = 0
    _making: bool = False
    _taking: bool = False
    _manifest: SnapshotManifest | None = None

    def restarted(self) -> None:
        """A new process remembers nothing."""
        self._making = self._taking = False
        self._manifest = None

    def after_turn(self) -> None:
        """Looks at what the turn has left to do, as engine.snapshots does."""
        replica, incarnation = self.node.replica, self.node.incarnation
        assert replica is not None
        if replica.lacking() and not self._making:
            self._making = True
            self.node.timeline.after(0.05 + self.dice.random() * 0.5, lambda: self._make_and_offer(incarnation))
        if replica.offered is not None:
            (peer, manifest), replica.offered = replica.offered, None
            if not self._taking:
                self._taking = True
                delay_s = self.transfer_s * (0.5 + 2.0 * self.dice.random())
                self.node.timeline.after(delay_s, lambda: self._take(incarnation, peer, manifest))

    def _make_and_offer(self, incarnation: int) -> None:
        replica = self.node.replica
        if incarnation != self.node.incarnation or replica is None:
            return
        lacking = replica.lacking()
        if not lacking:
            self._making = False
            return
        if self._manifest is None or self._manifest.index < replica.journal.first_index:
            self._manifest = self._make()
        if self._manifest is not None:
            for peer in sorted(lacking):
                replica.offer_snapshot(peer, self._manifest)
            self.node.wake()
        self.node.timeline.after(1.0, lambda: self._make_and_offer(incarnation))

    def _make(self) -> SnapshotManifest | None:
        still = self.node.directory / "still"
        shutil.rmtree(still, ignore_errors=True)
        still.mkdir()
        for name in (DATA_FILE, READER_TABLE_FILE):
            shutil.copyfile(self.node.directory / name, still / name)
        try:
            manifest = make(still, self.node.directory / SNAPSHOTS_DIR)
        except SnapshotFailed:
            return None
        finally:
            shutil.rmtree(still, ignore_errors=True)
        self.made += 1
        return manifest

    def _take(self, incarnation: int, peer: NodeId, manifest: SnapshotManifest) -> None:
        replica, storage = self.node.replica, self.node.storage
        if incarnation != self.node.incarnation or replica is None or storage is None:
            return
        if self.node.turn_open:
            self.node.timeline.after(0.002, lambda: self._take(incarnation, peer, manifest))
            return
        self._taking = False
        file = self.source_file(peer, manifest.snapshot_id)
        if file is None or replica.graft.is_leader or manifest.index <= replica.applied_index:
            return
        prepared = self.node.directory / "prepared"
        shutil.rmtree(prepared, ignore_errors=True)
        asked = Preparation(
            file,
            manifest,
            ClusterId(self.node.settings.cluster_id),
            self.node.node_id,
            replica.journal.durable_hard_state,
            prepared,
        )
        try:
            prepare(asked)
            storage.install(prepared)
        except SnapshotRefused:
            return
        self.installed += 1
        self.node.disk.replaced(storage)
        self.node.replica = replica.reborn(storage, storage.position.applied_index)
        self.node.wake()


def held_by(node: "SimNode", snapshot_id: str) -> Path | None:
    """A snapshot file of a node that runs."""
    file = snapshot_file(node.directory / SNAPSHOTS_DIR, snapshot_id)
    return file if node.replica is not None and file.is_file() else None
