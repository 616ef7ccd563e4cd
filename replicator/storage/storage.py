"""The room's face: makes a turn durable in the log; replaces log and state at once; opens and closes both.

Invariants: what is served (`applied_position`) is in the log. A log entry goes only once the state on disk holds it.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from replicator.model.errors import CorruptData, DataDirectoryError, StorageFailed, Superseded
from replicator.model.ids import ClusterId, LogIndex, NodeId
from replicator.model.incarnation import KnownIncarnation
from replicator.model.log import TurnWrite
from replicator.model.members import DIRECTORY_ID_BYTES
from replicator.storage.applied_state import FLUSH_ENTRIES, AppliedState
from replicator.storage.data_directory import runs as incarnations
from replicator.storage.env import Environment
from replicator.storage.failures import DiskFull, InvariantViolated
from replicator.storage.layout import SUPERSEDED_KEY, Header
from replicator.storage.log.checks import check_turn
from replicator.storage.log.raft_log import RaftLog, new_log_id, remove_other_logs
from replicator.storage.log.soundness import assert_ordered, refuse_out_of_range
from replicator.storage.opening import (
    Identity,
    damaged,
    log_id_of,
    note_joining,
    open_environment,
    random_run_id,
    shortened,
    superseded,
)
from replicator.storage.reading import directory_id_of, position_of
from replicator.storage.snapshots.installing import Held, begin_log, seal
from replicator.storage.state.layers import Layer, Layers
from replicator.v1 import store_pb2

_REPLAY_BYTES: Final = 8 << 20  # of entries read at a time


def _random_directory_id() -> bytes:
    return os.urandom(DIRECTORY_ID_BYTES)


class Storage(AppliedState):
    """One data directory, open. `commit` from one thread at a time, `apply` too, `flush` from any.

    Everything else from any thread, unless it says otherwise.
    """

    def __init__(self, environment: Environment, log: RaftLog) -> None:
        super().__init__(environment, log)
        self._committing = threading.Lock()
        self._logged: TurnWrite | None = None  # is in the log, and waits for room to be applied
        refuse_out_of_range(environment.path, log)
        assert_ordered(self._position.applied_index, log)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        cluster_id: ClusterId,
        node_id: NodeId,
        size_max_bytes: int,
        new_directory_id: Callable[[], bytes] = _random_directory_id,
        joining: bool = False,
        new_run_id: Callable[[], bytes] = random_run_id,
    ) -> "Storage":
        """Opens or creates the data directory, and counts the run. Raises DataDirectoryError, also if it is damaged.

        Applies, in memory, what the log says to be committed and the state on disk does not hold.
        new_directory_id: DIRECTORY_ID_BYTES that no other directory has; asked for when this one has none yet.
        joining: the node joins a group that is there already; noted in a directory that is new or has heard of nobody.
        new_run_id: RUN_ID_BYTES that no other run has.
        """
        identity = Identity(cluster_id, node_id, new_directory_id, joining, new_run_id)
        environment = open_environment(path, size_max_bytes, identity)
        log: RaftLog | None = None
        try:
            with environment.read() as txn:
                log_id = log_id_of(txn, environment.opened().databases)
            log = RaftLog.open(environment.path, log_id)
            remove_other_logs(environment.path, log_id)
            note_joining(environment, identity, log.hard_state())
            storage = cls(environment, log)
            storage._replay()
        except BaseException as error:
            if log is not None:
                log.close()
            environment.close()
            if isinstance(error, StorageFailed):
                raise DataDirectoryError(damaged(path, str(error))) from error
            if isinstance(error, OSError | DiskFull):
                raise DataDirectoryError(f"{path}: cannot be used ({error}); check space and permissions") from error
            raise
        return storage

    def _replay(self) -> None:
        """As far as memory allows; the node goes on from there as if it had just heard of the rest."""
        committed = self._log.hard_state().commit_index
        while (applied := self.applied_position.applied_index) < committed:
            count = min(committed - applied, FLUSH_ENTRIES)
            entries = self._log.read(LogIndex(applied + 1), count_max=count, bytes_max=_REPLAY_BYTES)
            if not entries:
                raise CorruptData(f"log entry {applied + 1} is missing")
            if len(self.apply(entries)) < len(entries):
                return

    def commit(self, write: TurnWrite) -> list[list[store_pb2.BatchOutcome]]:
        """Makes one turn durable in the log, all of it or nothing; blocks for the disk.

        Entries of `write.apply` that were not applied in memory, since there was too much of it, are applied here, and
        flushed with all the rest; outcomes of these, per entry, per batch.
        Raises DiskFull: the same write is to be retried; nobody has seen any of it. Raises StorageFailed: the node must
        stop; every later commit raises the same, and reads may fail too (after a failed meta page write lmdb refuses
        them).
        """
        with self._writing("a turn"):
            applied = self.applied_position.applied_index
            due = [entry for entry in write.apply if entry.index > applied]
            if self._is_full:
                self.flush()
            if write is not self._logged:
                check_turn(self._log, write, applied)
                compact_to = self._compaction(write, LogIndex(applied + len(due)))
                self._log_turn(write, None if due else compact_to)
                self._freeze_if_due()
            if not due:
                return []
            self._logged = write
            outcomes = self._apply_rest(due)
            self._logged = None
            self._log_turn(TurnWrite(), self._compaction(write, self.applied_position.applied_index))
            return outcomes

    def _log_turn(self, write: TurnWrite, compact_to: LogIndex | None) -> None:
        if write.append or write.hard_state or write.truncate_from is not None or compact_to is not None:
            self._log.write(write, compact_to)

    def _compaction(self, write: TurnWrite, applied_index: LogIndex) -> LogIndex | None:
        """Up to where the log may go: as asked, but what a restart needs stays. A point already passed asks nothing.

        Raises InvariantViolated if not all of that is committed and applied.
        """
        if write.compact_to is None or write.compact_to <= self.load_log().first_index:
            return None
        kept = min(applied_index, (write.hard_state or self._log.hard_state()).commit_index)
        if write.compact_to > kept:
            raise InvariantViolated(
                f"compaction to {write.compact_to} beyond {kept}, up to where all is committed and applied"
            )
        compact_to = min(write.compact_to, self.stored_index())
        return compact_to if compact_to > self._log.first_index() else None

    # What the data file holds of the node itself -------------------------------------------------------------------

    def note_incarnation(self, node_id: NodeId, newest: KnownIncarnation) -> None:
        """Remembers, durably, which run of which directory was linked under that name. An earlier one changes nothing.

        For the thread that commits. Raises DiskFull or StorageFailed, as `commit` does.
        """
        if self.known_incarnation(node_id) == newest:
            return
        with self._writing("a note of an incarnation"), self._state_writing:
            self._environment.write(lambda txn: incarnations.note(txn, self._databases, node_id, newest))

    def mark_superseded(self, why: str) -> Superseded:
        """Another copy of this directory has run: from now on this one refuses commits, and never opens for serving.

        For the thread that commits. why: one line. Returns what commits raise from now on. Raises DiskFull or
        StorageFailed; even then it refuses commits.
        """
        mark = shortened(why)
        failure = Superseded(superseded(self.path, mark))
        try:
            with self._writing("a mark"), self._state_writing:
                self._environment.write(lambda txn: txn.put(SUPERSEDED_KEY, mark.encode(), db=self._databases.meta))
        finally:
            self._failure = self._failure or failure
        return failure

    def install(self, prepared_dir: Path) -> None:
        """Goes on with the data that `prepare_snapshot` left in `prepared_dir`, under the term and vote held here.

        For the thread that commits, while nothing is applied. Reads go on meanwhile, of the old data. A new log, which
        begins with the snapshot's entry, is made first; the data file that names it takes the place of the old one.
        Killed at any point, the directory holds the old data and log or the new. Raises SnapshotRefused or DiskFull:
        nothing was changed; StorageFailed as `commit` does, and the old data are what is read until then.
        """
        with self._writing("an install"), self._state_writing:
            with self._environment.read() as txn:
                held = Held.load(txn, self._databases, self._log, self.applied_position.applied_index)
            log_id = new_log_id()
            head = seal(prepared_dir, held, log_id)
            with begin_log(self.path, log_id, held, head) as log:
                self._environment.install(prepared_dir)
            with self._environment.read() as txn:
                if directory_id_of(txn, self._databases) != self._directory_id:
                    raise InvariantViolated("the data directory has another id than before")
                header = Header.load(txn, self._databases)
            assert_ordered(header.applied_index, log)
            with self._boundary:
                self._layers = Layers(Layer(header))
                old, self._log = self._log, log
            self._position = position_of(header)
            old.close()
            remove_other_logs(self.path, log_id)

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """Alone."""
        if not self._committing.acquire(blocking=False):
            raise InvariantViolated(f"{what} while something else is being written")
        try:
            with self._failing(what):
                yield
        finally:
            self._committing.release()

    def close(self, *, flushed: bool = True) -> None:
        """Lets go of the directory. Closing twice is fine. flushed: what is applied is written before, if it can be."""
        is_sound = flushed and self._failure is None and self._environment.is_open
        if is_sound:
            with contextlib.suppress(DiskFull, StorageFailed):  # it is applied again from the log
                self.flush()
        with self._state_writing:  # a flush that began before ends first
            with contextlib.suppress(DiskFull, StorageFailed):
                self._log.close(sealed=is_sound)
            self._environment.close()
