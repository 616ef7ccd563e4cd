"""Snapshots between simulated nodes: made, carried and installed by the shipped code, in virtual time.

Who serves whom is decided by the shipped `engine.snapshot_duties`. Only what the real node does in processes and
streams of its own is replaced: a copy of the data file stands for the consistent read, a delay for the transfer.
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
from replicator.storage.snapshots.checking import Preparation, prepare
from replicator.storage.snapshots.making import make
from replicator.storage.snapshots.requests import SNAPSHOTS_DIR, snapshot_file

if TYPE_CHECKING:
    from chaos.simulation.node import SimNode


@dataclass(slots=True)
class SnapshotExchange:
    """One node's part in it, as engine.snapshots has it: makes when it has to, takes what it is offered; one of each.

    made, made_for_leader: how many, and how many of them while another node led.
    """

    node: "SimNode"
    dice: random.Random
    source_file: Callable[[NodeId, str], Path | None]  # a peer's snapshot, None if it cannot be reached now
    transfer_s: float
    made: int = 0
    made_for_leader: int = 0
    installed: int = 0
    _serving: bool = False
    _making: bool = False
    _taking: bool = False
    _held: SnapshotManifest | None = None

    def restarted(self) -> None:
        """A new process remembers nothing."""
        self._serving = self._making = self._taking = False
        self._held = None

    def after_turn(self) -> None:
        """Looks at what the turn has left to do, as engine.snapshots does."""
        replica, incarnation = self.node.replica, self.node.incarnation
        assert replica is not None
        duties = replica.snapshots
        if duties.has_any() and not self._serving:
            self._serving = True
            self._serve(incarnation)
        if duties.offered is not None:
            (peer, manifest), duties.offered = duties.offered, None
            if not self._taking:
                self._taking = True
                delay_s = self.transfer_s * (0.5 + 2.0 * self.dice.random())
                self.node.timeline.after(delay_s, lambda: self._take(incarnation, peer, manifest))

    def _serve(self, incarnation: int) -> None:
        replica = self.node.replica
        if incarnation != self.node.incarnation or replica is None:
            return
        duties = replica.snapshots
        if not duties.has_any():
            self._serving = False
            return
        if duties.step(self._held, making=self._making):
            self._making = True
            self.node.timeline.after(0.05 + self.dice.random() * 0.5, lambda: self._make(incarnation))
        self.node.wake()
        self.node.timeline.after(duties.period_s, lambda: self._serve(incarnation))

    def _make(self, incarnation: int) -> None:
        replica = self.node.replica
        if incarnation != self.node.incarnation or replica is None:
            return
        self._making = False
        manifest = self._made()
        if manifest is None:
            replica.snapshots.could_not_make("no room")
        else:
            self._held = manifest
            self.made += 1
            self.made_for_leader += not replica.graft.is_leader
            replica.snapshots.made(manifest)
        self.node.wake()

    def _made(self) -> SnapshotManifest | None:
        if self.node.timeline.now_s < self.node.full_until_s:
            return None
        still = self.node.directory / "still"
        shutil.rmtree(still, ignore_errors=True)
        still.mkdir()
        for name in (DATA_FILE, READER_TABLE_FILE):
            shutil.copyfile(self.node.directory / name, still / name)
        try:
            return make(still, self.node.directory / SNAPSHOTS_DIR)
        except SnapshotFailed:
            return None
        finally:
            shutil.rmtree(still, ignore_errors=True)

    def _take(self, incarnation: int, peer: NodeId, manifest: SnapshotManifest) -> None:
        replica, storage = self.node.replica, self.node.storage
        if incarnation != self.node.incarnation or replica is None or storage is None:
            return
        if self.node.turn_open:
            self.node.timeline.after(0.002, lambda: self._take(incarnation, peer, manifest))
            return
        self._taking = False
        file = self.source_file(peer, manifest.snapshot_id)
        if file is None:
            replica.snapshots.could_not_take(peer)
            self.node.wake()
            return
        if replica.graft.is_leader or manifest.index <= replica.applied_index:
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
