"""Entries are applied in memory, at once; the state on disk follows, in flushes.

Invariant: the state on disk may be older than the log, never newer: a flush takes only what the log says, durably, to
be committed.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from replicator.machine.apply import apply_entry
from replicator.model.errors import StorageFailed
from replicator.model.ids import LogIndex
from replicator.model.log import Entry
from replicator.storage.env import Environment
from replicator.storage.failures import DiskFull, InvariantViolated, SnapshotRefused
from replicator.storage.layout import Transaction
from replicator.storage.log.raft_log import RaftLog
from replicator.storage.reading import StoredReads, position_of
from replicator.storage.state.flush import delete_unneeded, flush
from replicator.storage.state.layers import Layer, Layers
from replicator.storage.state.store import LayeredStore
from replicator.v1 import store_pb2

APPLIED_ENTRIES_MAX: Final = 4096  # in memory only; then `apply` waits for a flush
APPLIED_BYTES_MAX: Final = 64 << 20  # of their payloads, and of outcomes that are remembered
APPLIED_CHANGES_MAX: Final = 131_072  # of keys, that they made
FLUSH_ENTRIES: Final = 1024  # from here on a layer is to be written
FLUSH_BYTES: Final = 8 << 20
FLUSH_CHANGES: Final = 8192


class AppliedState(StoredReads):
    """The part of `Storage` that applies and flushes. `apply` from one thread at a time, `flush` from any."""

    def __init__(self, environment: Environment, log: RaftLog) -> None:
        super().__init__(environment, log)
        self._state_writing = threading.Lock()  # of LMDB: a flush and a commit may want to at the same time
        self._boundary = threading.Lock()  # of an entry: nothing is frozen while one is half applied
        self._failure: StorageFailed | None = None
        self._is_full = self._more_to_delete = False
        self._asked_index = LogIndex(0)  # up to which a flush was asked for, by log index

    def apply(self, entries: Sequence[Entry]) -> list[list[store_pb2.BatchOutcome]]:
        """Applies committed entries in memory; outcomes per entry, per batch. `get` sees them at once.

        entries: durable in this node's log, contiguous from `applied_position` on. When too much is applied that no
        flush has written yet (APPLIED_*_MAX), the rest is left, perhaps all: there are fewer outcomes than entries
        then, and the caller hands the rest to a commit. Nothing of this is lost in a crash: the entries are in the
        log, and are applied again. From the thread of those who read. Raises StorageFailed.
        """
        outcomes: list[list[store_pb2.BatchOutcome]] = []
        with self._boundary, self._failing("an apply"):
            layers = self._layers
            with self._environment.read() as txn:
                store = LayeredStore(txn, self._databases, layers.open, layers.older)
                for entry in entries:
                    if (
                        layers.entry_count >= APPLIED_ENTRIES_MAX
                        or layers.size_bytes >= APPLIED_BYTES_MAX
                        or layers.change_count >= APPLIED_CHANGES_MAX
                    ):
                        break
                    self._check_is_next(entry, store.applied_index)
                    outcomes.append(apply_entry(store, entry))
                    layers.open.note(entry)
        return outcomes

    def _check_is_next(self, entry: Entry, applied_index: LogIndex) -> None:
        """In order, without a gap, and exactly what the log holds."""
        if entry.index != applied_index + 1:
            raise InvariantViolated(f"apply of entry {entry.index}, expected {applied_index + 1}")
        if not self._log.holds(entry):
            raise InvariantViolated(
                f"apply of entry {entry.index} (term {entry.term}), which is not what the log holds"
            )

    def _apply_rest(self, due: Sequence[Entry]) -> list[list[store_pb2.BatchOutcome]]:
        """What did not fit into memory: once all before it is flushed, in a layer that nobody sees before it is whole.

        Raises DiskFull: nothing of it was applied.
        """
        self.flush()
        with self._environment.read() as txn:
            fresh = self._layers.open.next()
            store = LayeredStore(txn, self._databases, fresh)
            outcomes = []
            for entry in due:
                self._check_is_next(entry, store.applied_index)
                outcomes.append(apply_entry(store, entry))
                fresh.note(entry)
        if fresh.header.applied_index > self._log.hard_state().commit_index:
            raise InvariantViolated(f"apply of entry {fresh.header.applied_index}, which is not committed")
        with self._boundary:
            if self._layers.frozen is not None or self._layers.open.entry_count:
                raise InvariantViolated("entries are applied in memory and in a commit at the same time")
            self._layers = Layers(fresh)
        with contextlib.suppress(DiskFull):  # they are in the log; the next commit finds the disk full
            self.flush()
        return outcomes

    @property
    def flush_is_due(self) -> bool:
        """Something is frozen, and waits for `flush`."""
        return self._layers.frozen is not None

    def flush(self) -> None:
        """Makes the state durable, as far as the log says it to be committed. From any thread; one at a time.

        What is applied beyond the log's commit index is frozen by the commit that brings it, and taken by the next
        flush. Raises DiskFull: what was frozen stays in memory, and a later flush tries again; until then each commit
        does. Raises StorageFailed, as `commit` does.
        """
        self._asked_index = self.applied_position.applied_index
        self.flush_due()

    def flush_due(self) -> None:
        """Like `flush`, of what is due only: it asks for nothing, or each flush would make the next one due."""
        with self._state_writing, self._failing("a flush"):
            self._freeze_if_due()
            while self._layers.frozen is not None or self._more_to_delete:
                self._write_state(self._layers.frozen)
                self._freeze_if_due()
            self._is_full = False

    def _write_state(self, frozen: Layer | None) -> None:
        """One transaction: what is frozen, if anything is, and a step of deleting what is of no use any more."""
        layer = frozen or self._layers.open.next()
        committed, first_index = self._log.hard_state().commit_index, self._log.first_index()
        if frozen is not None and frozen.header.applied_index > committed:
            raise InvariantViolated(
                f"flush of entry {frozen.header.applied_index}, and the log says that {committed} is committed"
            )

        def write(txn: Transaction) -> bool:
            if frozen is not None:
                flush(txn, self._databases, frozen)
            return delete_unneeded(txn, self._databases, layer, first_index)

        try:
            self._more_to_delete = self._environment.write(write)
        except DiskFull:
            self._is_full = True
            raise
        if frozen is not None:
            with self._boundary:
                self._layers.drop_frozen()
                self._position = position_of(frozen.header)

    def _freeze_if_due(self) -> None:
        """Only what the log covers, so at the end of a commit, or while nothing more is applied."""
        with self._boundary:
            layer = self._layers.open
            is_large = (
                layer.entry_count >= FLUSH_ENTRIES
                or layer.size_bytes >= FLUSH_BYTES
                or len(layer.changes) >= FLUSH_CHANGES
            )
            if (
                self._layers.frozen is None
                and layer.entry_count
                and (is_large or self._position.applied_index < self._asked_index)
                and layer.header.applied_index <= self._log.hard_state().commit_index
            ):
                self._layers.freeze()

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """After any failure, an assert and damaged data included, nothing is applied or written any more."""
        try:
            if self._failure is not None:
                raise self._failure
            yield
        except (SnapshotRefused, DiskFull):
            raise
        except StorageFailed as failure:
            self._failure = self._failure or failure
            raise
        except Exception as error:
            self._failure = StorageFailed(f"{what} met an impossible state: {type(error).__name__}: {error}")
            raise self._failure from error
