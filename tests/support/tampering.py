"""Writes into a data directory that no node runs on, past all checks: as an attacker or a bug could."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from replicator.machine.codec import NO_OP_PAYLOAD
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.storage.layout import Databases, Transaction
from replicator.storage.log.raft_log import RaftLog
from replicator.storage.opening import log_id_of
from replicator.storage.snapshots.files import opened_file


@contextmanager
def tampering(data: Path) -> Iterator[tuple[Transaction, Databases]]:
    """One transaction, committed at the end."""
    file = data / "data.mdb"
    with opened_file(file, file.stat().st_size) as env, env.begin(write=True) as txn:
        yield txn, Databases.open(env, txn, create=False)


@contextmanager
def log_of(data: Path) -> Iterator[RaftLog]:
    """To be read and written."""
    with tampering(data) as (txn, databases):
        log = RaftLog.open(data, log_id_of(txn, databases))
    try:
        yield log
    finally:
        log.close(sealed=True)


def forge_hard_state(data: Path, *, term: int, commit_index: int | None = None) -> None:
    """commit_index: None leaves it."""
    with log_of(data) as log:
        committed = log.hard_state().commit_index if commit_index is None else LogIndex(commit_index)
        log.write(TurnWrite(hard_state=HardState(Term(term), NodeId("forger"), committed)))


def forge_entry(data: Path, index: int, *, term: int = 3, payload: bytes = NO_OP_PAYLOAD) -> None:
    """At the end of the log, which must end before it."""
    with log_of(data) as log:
        log.write(TurnWrite(append=(Entry(payload, LogIndex(index), Term(term)),)))


def mark(data: Path, name: bytes, value: bytes) -> None:
    """In `meta`."""
    with tampering(data) as (txn, databases):
        txn.put(name, value, db=databases.meta)
