"""Stores with a past: keys written, rewritten and deleted, sessions, a log; and what a snapshot of one needs."""

import asyncio
import random
from pathlib import Path

from replicator.model.ids import ClusterId, LogIndex, NodeId, Term
from replicator.model.log import Entry, HardState, SnapshotManifest
from replicator.storage import Storage, make_snapshot, prepare_snapshot, snapshot_file
from tests.support.commands import a_turn, an_entry, by, delete, put

CLUSTER, NODE = ClusterId("c"), NodeId("n")
RECEIVER_STATE = HardState(Term(2), None, LogIndex(0))
KEYS = 3000
CLIENTS = 20


def a_past(count: int, *, seed: int = 1, puts: int = 40) -> tuple[Entry, ...]:
    """Entries 1 to count, of `puts` writes each, a tenth of them deletes, by sessions that remember."""
    dice = random.Random(seed)
    entries = []
    for index in range(1, count + 1):
        commands = []
        for number in range(puts):
            sequence = index * puts + number
            key, write_id = (
                b"key-%05d" % dice.randrange(KEYS),
                by(number % CLIENTS + 1, sequence, max(1, sequence - 400)),
            )
            is_delete = dice.random() < 0.1
            commands.append(delete(key, write_id) if is_delete else put(key, dice.randbytes(50), write_id))
        entries.append(an_entry(index, *commands, time_ms=index))
    return tuple(entries)


def follow(storage: Storage, entries: tuple[Entry, ...], *, a_turn_of: int = 20) -> None:
    """Appends, commits and applies them."""
    for first in range(0, len(entries), a_turn_of):
        storage.commit(a_turn(*entries[first : first + a_turn_of], term=storage.hard_state().term or 1))


async def prepare(file: Path, manifest: SnapshotManifest, prepared_dir: Path) -> None:
    """As the node that `tests.support.storage_process.opened` opens would, in term 2."""
    await prepare_snapshot(
        file, manifest, cluster_id=CLUSTER, node_id=NODE, hard_state=RECEIVER_STATE, prepared_dir=prepared_dir
    )


def prepared_from(storage: Storage, root: Path) -> tuple[Path, SnapshotManifest, str]:
    """What `storage` holds as a data file to be installed, in a folder under `root`; and the state hash in it."""
    manifest = asyncio.run(make_snapshot(storage.path, root))
    asyncio.run(prepare(snapshot_file(root, manifest.snapshot_id), manifest, root / "incoming"))
    return root / "incoming", manifest, storage.state_hash()[0]
