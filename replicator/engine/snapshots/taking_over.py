"""A prepared snapshot takes the place of a node's data, and a new replica that of the old one, between two turns."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from replicator.engine.calling.waits import AppliedWaits
from replicator.engine.turns import Turns
from replicator.model.log import SnapshotManifest
from replicator.storage.storage import Storage


async def take_over(
    prepared: Path,
    manifest: SnapshotManifest,
    *,
    turns: Turns,
    storage: Storage,
    waits: AppliedWaits,
    install: Callable[[Path], Awaitable[None]],
) -> bool:
    """Takes a verified snapshot over, unless the log has caught up meanwhile. True if it did.

    install: into `storage`. Raises SnapshotRefused, DiskFull: nothing has changed.
    """

    async def swap() -> bool:
        replica = turns.replica
        if replica.is_leader or manifest.index <= replica.applied_index:
            return False
        await install(prepared)
        turns.replica = replica.reborn(storage, storage.applied_position.applied_index)
        waits.applied(turns.replica.applied_index)
        return True

    return await turns.between_turns(swap)
