"""What an engine stands on: disk, snapshots, time, dice, and what takes its turns. The composition root hands it in.

Exists so that another world than a real node, such as the simulation, runs the shipped engine and builds none of its
parts a second time.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from replicator.engine.replica import Replica
from replicator.engine.snapshots.exchange import SnapshotFetcher, SnapshotStore
from replicator.engine.turns import Committer, FrameSender, Turns
from replicator.model.clock import Clock
from replicator.model.members import Membership
from replicator.model.observe import Observer
from replicator.storage.storage import Storage
from replicator.v1 import store_pb2


class EngineWriter(Committer, Protocol):
    """storage.StorageWriter, as far as the engine uses it."""

    async def install(self, prepared_dir: Path) -> None:
        """A prepared snapshot takes the place of everything. Raises SnapshotRefused, DiskFull: nothing has changed."""
        ...


class EngineTransport(FrameSender, SnapshotFetcher, Protocol):
    """transport.PeerTransport, as far as the engine uses it."""

    def set_membership(self, membership: Membership) -> None:
        """Whom to link from now on."""
        ...


class TurnLoop(Protocol):
    """Makes what takes the turns of one engine."""

    def __call__(
        self,
        replica: Replica,
        committer: Committer,
        *,
        clock: Clock,
        observer: Observer,
        on_applied: Callable[[Sequence[Sequence[store_pb2.BatchOutcome]]], None],
        after_turn: Callable[[], None],
    ) -> Turns: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """Of one engine. snapshots: where it keeps them, and how it makes them. turn_loop: Turns, or a kind of it."""

    storage: Storage
    writer: EngineWriter
    snapshots: SnapshotStore
    clock: Clock
    dice: random.Random
    observer: Observer
    turn_loop: TurnLoop = Turns
