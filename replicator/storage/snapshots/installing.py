"""The last look at prepared data before they take the place of a node's own.

Two things may have changed since they were prepared: the node may have voted (which must not be forgotten: it could
vote twice), and its log may have come to hold what the snapshot holds (then entries behind it may count as
acknowledged, and installing would lose them: Ongaro & Ousterhout 2014, figure 13, rule 6).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lmdb

from replicator.model.ids import LogIndex, Term
from replicator.model.log import HardState
from replicator.storage.data_directory import runs as incarnations
from replicator.storage.env import DATA_FILE, used_bytes
from replicator.storage.failures import DiskFull, SnapshotRefused, failure_of
from replicator.storage.layout import DIRECTORY_ID_KEY, JOINING_KEY, SUPERSEDED_KEY, Databases, Header, Transaction
from replicator.storage.log.raft_log import RaftLog
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
    def load(cls, txn: Transaction, databases: Databases, term_at: Callable[[LogIndex], Term | None]) -> "Held":
        """What `txn` sees."""
        directory_id = txn.get(DIRECTORY_ID_KEY, db=databases.meta)
        assert directory_id is not None
        return cls(
            hard_state=RaftLog(txn, databases).hard_state(),
            applied_index=Header.load(txn, databases).applied_index,
            term_at=term_at,
            directory_id=directory_id,
            joining=txn.get(JOINING_KEY, db=databases.meta) is not None,
            run_number=incarnations.number_held(txn, databases),
            known=incarnations.Table.load(txn, databases),
            superseded=txn.get(SUPERSEDED_KEY, db=databases.meta),
        )


def seal(prepared_dir: Path, held: Held) -> Path:
    """The prepared file, durable and under the node's term, vote and directory id. Raises SnapshotRefused, DiskFull."""
    file = prepared_dir / DATA_FILE
    try:
        _seal(file, held)
        sync_file(file)
    except (OSError, lmdb.Error) as error:
        failure = failure_of(error, f"sealing {file}")
        raise failure if isinstance(failure, DiskFull) else SnapshotRefused(str(failure)) from error
    return file


def _seal(file: Path, held: Held) -> None:
    file_bytes = file.stat().st_size
    with opened_file(file, file_bytes) as env, env.begin(write=True) as txn:
        if used_bytes(env) > file_bytes:
            raise SnapshotRefused(f"{file}: is truncated")
        databases = Databases.open(env, txn, create=False)
        content = read_content(txn, databases)
        _check_needed(content.header.applied_index, content.term, held)
        state = HardState(held.hard_state.term, held.hard_state.voted_for, content.header.applied_index)
        txn.put(DIRECTORY_ID_KEY, held.directory_id, db=databases.meta)
        if held.joining:
            txn.put(JOINING_KEY, b"1", db=databases.meta)
        incarnations.store_number(txn, databases, held.run_number)
        held.known.store(txn, databases)
        if held.superseded is not None:
            txn.put(SUPERSEDED_KEY, held.superseded, db=databases.meta)
        log = RaftLog(txn, databases)
        if log.hard_state() != state:
            log.save_hard_state(state)


def _check_needed(index: LogIndex, term: Term, held: Held) -> None:
    known = max(held.applied_index, held.hard_state.commit_index)
    if index <= known:
        raise SnapshotRefused(f"snapshot of {index}: this node has committed up to {known}")
    if held.term_at(index) == term:
        raise SnapshotRefused(f"snapshot of {index}: this node's log holds that entry, and maybe later ones")
    if term > held.hard_state.term:
        raise SnapshotRefused(f"snapshot of {index}: term {term} is ahead of this node's {held.hard_state.term}")
