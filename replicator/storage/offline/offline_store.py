"""A data directory that no node runs on, only read: also one that must never act again, or whose numbers are forged.

Nothing is written, not even LMDB's table of readers, so a file system that is read-only will do.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lmdb

from replicator.model.errors import DataDirectoryError, StorageFailed
from replicator.model.ids import ClusterId, LogIndex, NodeId, Revision, Term
from replicator.model.values import KeyValue
from replicator.storage.data_directory.locking import DirectoryLock
from replicator.storage.env import DATA_FILE, MAP_STEP_BYTES_MAX
from replicator.storage.layout import DATABASE_COUNT, SUPERSEDED_KEY, Databases, Header, Transaction
from replicator.storage.log.raft_log import RaftLog
from replicator.storage.log.soundness import page_problems, problem_of_range
from replicator.storage.opening import (
    check_engine,
    check_format,
    damaged,
    log_id_of,
    noted,
    refuse_truncated,
    superseded,
)
from replicator.storage.state import reads


@dataclass(frozen=True, slots=True)
class OfflineFacts:
    """Whose data they are and how far they go. notes: one line each: what is wrong.

    term: of the node. last_index, last_term: of the log's last entry. Of a damaged log: the last entry before the
    damage, and no terms. What lies beyond the applied index is in no pair.
    """

    cluster_id: ClusterId
    node_id: NodeId
    applied_index: LogIndex
    revision: Revision
    live_keys: int
    last_index: LogIndex
    last_term: Term | None
    term: Term | None
    notes: tuple[str, ...]


class OfflineStore:
    """One read transaction on the directory. To be had from `opened_offline`."""

    def __init__(self, path: Path, txn: Transaction, databases: Databases, log: RaftLog) -> None:
        self._path, self._txn, self._databases, self._log = path, txn, databases, log

    @property
    def view(self) -> tuple[Transaction, Databases, RaftLog]:
        """For what else of this room reads it."""
        return self._txn, self._databases, self._log

    def facts(self) -> OfflineFacts:
        """Raises CorruptData."""
        header, log, notes = Header.load(self._txn, self._databases), self._log, []
        why = self._txn.get(SUPERSEDED_KEY, db=self._databases.meta)
        if why is not None:
            notes.append(superseded(self._path, why.decode("utf-8", "replace")))
        problem = log.damage or problem_of_range(log)
        if problem is not None:
            notes.append(f"{self._path}: {problem}")
        return OfflineFacts(
            cluster_id=ClusterId(noted(self._path, self._txn, self._databases.meta, b"cluster_id")),
            node_id=NodeId(noted(self._path, self._txn, self._databases.meta, b"node_id")),
            applied_index=header.applied_index,
            revision=header.revision,
            live_keys=header.live_keys,
            last_index=log.last_index(),
            last_term=None if log.damage else log.bounds().last_term,
            term=None if log.damage else log.hard_state().term,
            notes=tuple(notes),
        )

    def pairs(self) -> Iterator[KeyValue]:
        """All live pairs in key order. Raises CorruptData, lmdb.Error: both end `opened_offline` with one line."""
        for pair in reads.pairs(self._txn, self._databases):
            if pair is not None:
                key, value, create_revision, mod_revision, version = pair
                yield KeyValue(key, value, Revision(create_revision), Revision(mod_revision), version)


@contextmanager
def opened_offline(path: Path, *, verified: bool = False) -> Iterator[OfflineStore]:
    """Raises DataDirectoryError if a node runs on it, if it is no data directory of this release, or damaged.

    verified: every page is looked at first, by code that never hands it to lmdb; takes as long as the data are large.
    """
    path = Path(os.path.realpath(path))
    require_data(path)
    try:
        lock = DirectoryLock.share(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        problems = page_problems(path / DATA_FILE) if verified else ""
        if problems:
            raise DataDirectoryError(damaged(path, problems))
        with _opened(path) as env, env.begin() as txn:
            check_format(path, env, txn)
            databases = Databases.open(env, txn, create=False)
            log = RaftLog.open(path, log_id_of(txn, databases), writable=False)
            try:
                yield OfflineStore(path, txn, databases, log)
            finally:
                log.close()
    except (lmdb.Error, StorageFailed) as error:
        raise DataDirectoryError(damaged(path, str(error))) from error
    finally:
        lock.release()


def require_data(path: Path) -> None:
    """Raises DataDirectoryError unless there are data already: nothing is to be created here."""
    try:
        is_there = (path / DATA_FILE).is_file()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not is_there:
        raise DataDirectoryError(f"{path}: holds no {DATA_FILE}; name the data directory of a node")


def _unreadable(path: Path, error: OSError) -> DataDirectoryError:
    return DataDirectoryError(f"{path}: cannot be read ({error.strerror}); check its permissions")


@contextmanager
def _opened(path: Path) -> Iterator[lmdb.Environment]:
    try:
        file = (path / DATA_FILE).open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        map_bytes = os.fstat(file.fileno()).st_size + MAP_STEP_BYTES_MAX
        env = lmdb.open(str(path), map_size=map_bytes, readonly=True, lock=False, create=False, max_dbs=DATABASE_COUNT)
        try:
            check_engine(path, env)
            refuse_truncated(path, env, file.fileno())
            yield env
        finally:
            env.close()
