"""The only room with lmdb: one environment for the Raft log and the state, so one commit covers both.

Exists so that nothing is acknowledged before it is on disk, and nothing is applied twice.
Knows: files, lmdb, threads, the state machine. Must not know: Raft's rules beyond what a turn writes, asyncio (but for
`writer`), gRPC.
"""

from replicator.storage.failures import DiskFull, InvariantViolated
from replicator.storage.raft_log import LogBounds
from replicator.storage.reads import ScanPage
from replicator.storage.storage import Position, Storage
from replicator.storage.writer import StorageWriter

__all__ = ["DiskFull", "InvariantViolated", "LogBounds", "Position", "ScanPage", "Storage", "StorageWriter"]
