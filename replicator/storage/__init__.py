"""The only room with lmdb: the Raft log in files of its own, and the state, which follows it, in LMDB.

Exists so that nothing is acknowledged before it is on disk, and nothing is applied twice.
Sub-rooms: `log/`, `state/` (store, reads, one turn), `snapshots/`, `data_directory/` (locks, permissions, runs) and
`offline/` (`export`, `recover`).
Knows: files, lmdb, threads, the state machine. Must not know: Raft's rules beyond what a turn writes, asyncio (but for
`writer` and `snapshot`), gRPC.
"""

from replicator.storage.data_directory.locking import DirectoryInUse
from replicator.storage.failures import DiskFull, InvariantViolated, SnapshotFailed, SnapshotRefused
from replicator.storage.log.raft_log import LogBounds
from replicator.storage.offline.offline_store import OfflineFacts, OfflineStore, opened_offline
from replicator.storage.offline.recovering import Recovery, foresee, recover
from replicator.storage.reading import Position
from replicator.storage.snapshots.requests import (
    INCOMING_DIR,
    SNAPSHOTS_DIR,
    make_snapshot,
    prepare_snapshot,
    remove_snapshots,
    snapshot_file,
)
from replicator.storage.state.reads import ScanPage
from replicator.storage.storage import Storage
from replicator.storage.writer import StorageWriter

__all__ = [
    "INCOMING_DIR", "SNAPSHOTS_DIR", "DirectoryInUse", "DiskFull", "InvariantViolated",
    "LogBounds", "OfflineFacts", "OfflineStore", "Position", "Recovery", "ScanPage", "SnapshotFailed",
    "SnapshotRefused", "Storage", "StorageWriter", "foresee", "make_snapshot", "opened_offline", "prepare_snapshot",
    "recover", "remove_snapshots", "snapshot_file",
]  # fmt: skip
