"""The last look at prepared data before they take the place of a node's own.

Two things may have changed since they were prepared: the node may have voted (which must not be forgotten: it could
vote twice), and its log may have come to hold what the snapshot holds (then entries behind it may count as
acknowledged, and installing would lose them: Ongaro & Ousterhout 2014, figure 13, rule 6).
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lmdb

from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry, HardState
from replicator.storage.data_directory import runs as incarnations
from replicator.storage.env import DATA_FILE, used_bytes
from replicator.storage.failures import DiskFull, SnapshotRefused, failure_of
from replicator.storage.layout import DIRECTORY_ID_KEY, JOINING_KEY, LOG_ID_KEY, SUPERSEDED_KEY, Databases, Transaction
from replicator.storage.log.raft_log import RaftLog, log_folder
from replicator.storage.snapshots.files import opened_file, read_content, sync_file


@dataclass(frozen=True, slots=True)
class Held:
    """What the node holds now. term_at: of an entry of its log, None if it is not held.

    The rest stays that of the directory, whichever node the data came from. run_number: of its incarnation. superseded:
    the mark, None without one.
    """

    hard_state: HardState
    applied_index: LogIndex
    term_at: Callable[[LogIndex], Term | None]
    directory_id: bytes
    joining: bool
    run_number: int
    known: incarnations.Table
    superseded: bytes | None

    @classmethod
    def load(cls, txn: Transaction, databases: Databases, log: RaftLog, applied_index: LogIndex) -> "Held":
        """What `txn` and the log hold. applied_index: in memory or on disk."""
        directory_id = txn.get(DIRECTORY_ID_KEY, db=databases.meta)
        assert directory_id is not None
        return cls(
            hard_state=log.hard_state(),
            applied_index=applied_index,
            term_at=log.term_at,
            directory_id=directory_id,
            joining=txn.get(JOINING_KEY, db=databases.meta) is not None,
            run_number=incarnations.number_held(txn, databases),
            known=incarnations.Table.load(txn, databases),
            superseded=txn.get(SUPERSEDED_KEY, db=databases.meta),
        )


def seal(prepared_dir: Path, held: Held, log_id: bytes) -> Entry:
    """Gives the prepared file what is the node's own, and the id of the log that is to belong to it, durably.

    The entry that log begins with. Raises SnapshotRefused, DiskFull.
    """
    file = prepared_dir / DATA_FILE
    try:
        head = _seal(file, held, log_id)
        sync_file(file)
    except (OSError, lmdb.Error) as error:
        failure = failure_of(error, f"sealing {file}")
        raise failure if isinstance(failure, DiskFull) else SnapshotRefused(str(failure)) from error
    return head


@contextmanager
def begin_log(data_dir: Path, log_id: bytes, held: Held, head: Entry) -> Iterator[RaftLog]:
    """A log for data that take the place of others within the block. Removed if they do not, for want of space, say.

    After any other failure it stays: the data that name it may be there. Raises DiskFull, StorageFailed.
    """
    state = HardState(held.hard_state.term, held.hard_state.voted_for, head.index)
    try:
        log = RaftLog.create(data_dir, log_id, state, head)
    except OSError as error:
        raise failure_of(error, "beginning a log") from error
    try:
        yield log
    except BaseException as error:
        log.close()
        if isinstance(error, SnapshotRefused | DiskFull):
            shutil.rmtree(log_folder(data_dir, log_id), ignore_errors=True)
        raise


def _seal(file: Path, held: Held, log_id: bytes) -> Entry:
    file_bytes = file.stat().st_size
    with opened_file(file, file_bytes) as env, env.begin(write=True) as txn:
        if used_bytes(env) > file_bytes:
            raise SnapshotRefused(f"{file}: is truncated")
        databases = Databases.open(env, txn, create=False)
        content = read_content(txn, databases)
        _check_needed(content.header.applied_index, content.head.term, held)
        txn.put(LOG_ID_KEY, log_id, db=databases.meta)
        txn.put(DIRECTORY_ID_KEY, held.directory_id, db=databases.meta)
        if held.joining:
            txn.put(JOINING_KEY, b"1", db=databases.meta)
        incarnations.store_number(txn, databases, held.run_number)
        held.known.store(txn, databases)
        if held.superseded is not None:
            txn.put(SUPERSEDED_KEY, held.superseded, db=databases.meta)
        return content.head


def _check_needed(index: LogIndex, term: Term, held: Held) -> None:
    known = max(held.applied_index, held.hard_state.commit_index)
    if index <= known:
        raise SnapshotRefused(f"snapshot of {index}: this node has committed up to {known}")
    if held.term_at(index) == term:
        raise SnapshotRefused(f"snapshot of {index}: this node's log holds that entry, and maybe later ones")
    if term > held.hard_state.term:
        raise SnapshotRefused(f"snapshot of {index}: term {term} is ahead of this node's {held.hard_state.term}")
