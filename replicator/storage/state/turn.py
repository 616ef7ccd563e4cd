"""What one turn of the node does to the disk, within one write transaction, and what it must never do."""

from dataclasses import dataclass
from typing import Final

from replicator.machine.apply import apply_entry
from replicator.model.ids import LogIndex
from replicator.model.limits import INDEX_MAX, TERM_MAX
from replicator.model.log import HardState, TurnWrite
from replicator.storage.failures import InvariantViolated
from replicator.storage.layout import Databases, Header, Transaction
from replicator.storage.log.raft_log import RaftLog
from replicator.storage.state.store import LmdbStore
from replicator.v1 import store_pb2

COMPACT_ENTRIES_MAX: Final = 4096  # entries deleted in one turn, so that a commit takes no longer for it


@dataclass(frozen=True, slots=True)
class TurnResult:
    """outcomes: per applied entry, per command. header: the store's watermarks after the turn."""

    outcomes: list[list[store_pb2.Outcome]]
    header: Header


def perform_turn(txn: Transaction, databases: Databases, write: TurnWrite) -> TurnResult:
    """Does all that `write` says, uncommitted. Raises InvariantViolated if it contradicts what is stored."""
    log = RaftLog(txn, databases)
    store = LmdbStore(txn, databases)
    _check_range(write)
    hard_state = log.hard_state()
    if write.truncate_from is not None:
        _check_truncation(write.truncate_from, hard_state, store.applied_index)
        log.truncate_from(write.truncate_from)
    if write.append:
        _check_append(write, log.last_index())
        log.append(write.append)
    if write.hard_state is not None:
        _check_hard_state(hard_state, write.hard_state, log.last_index())
        log.save_hard_state(write.hard_state)
    _check_apply(write, log, store.applied_index)
    outcomes = [apply_entry(store, entry) for entry in write.apply]
    header = store.flush()
    if write.compact_to is not None:
        _compact(log, write.compact_to, header.applied_index)
    return TurnResult(outcomes, header)


def _compact(log: RaftLog, compact_to: LogIndex, applied_index: LogIndex) -> None:
    """Only what is applied and committed is no longer needed. A point already passed asks for nothing."""
    if compact_to <= log.bounds().first_index:
        return
    kept = min(applied_index, log.hard_state().commit_index)
    if compact_to > kept:
        raise InvariantViolated(f"compaction to {compact_to} beyond {kept}, up to where all is committed and applied")
    log.compact_to(compact_to, count_max=COMPACT_ENTRIES_MAX)


def _check_range(write: TurnWrite) -> None:
    """No such number is kept: no node could act on it, or start with it."""
    terms = [entry.term for entry in write.append]
    indexes = [entry.index for entry in write.append]
    if write.hard_state is not None:
        terms.append(write.hard_state.term)
        indexes.append(write.hard_state.commit_index)
    if max(terms, default=0) > TERM_MAX or max(indexes, default=0) > INDEX_MAX:
        raise InvariantViolated(f"term {max(terms)} or index {max(indexes)} is out of range")


def _check_truncation(truncate_from: LogIndex, hard_state: HardState, applied_index: LogIndex) -> None:
    """What is committed or applied stays."""
    kept = max(hard_state.commit_index, applied_index)
    if truncate_from <= kept:
        raise InvariantViolated(
            f"truncation from {truncate_from} would delete entries up to {kept}, which are committed"
        )


def _check_append(write: TurnWrite, last_index: LogIndex) -> None:
    """No gap, no overlap."""
    for offset, entry in enumerate(write.append, start=1):
        if entry.index != last_index + offset:
            raise InvariantViolated(f"append of entry {entry.index}, expected {last_index + offset}")


def _check_hard_state(old: HardState, new: HardState, last_index: LogIndex) -> None:
    """Terms never move back; a vote, once given, is not changed within its term; only what is held can be committed."""
    if new.term < old.term:
        raise InvariantViolated(f"term {new.term} after {old.term}")
    if new.term == old.term and old.voted_for is not None and new.voted_for != old.voted_for:
        raise InvariantViolated(f"vote for {new.voted_for} in term {new.term} after one for {old.voted_for}")
    if new.commit_index > last_index:
        raise InvariantViolated(f"commit index {new.commit_index} beyond the last entry {last_index}")


def _check_apply(write: TurnWrite, log: RaftLog, applied_index: LogIndex) -> None:
    """In order, without a gap, and exactly what the log holds: reading it back also finds a damaged entry in time."""
    for offset, entry in enumerate(write.apply, start=1):
        if entry.index != applied_index + offset:
            raise InvariantViolated(f"apply of entry {entry.index}, expected {applied_index + offset}")
        if entry != log.entry_at(entry.index):
            raise InvariantViolated(
                f"apply of entry {entry.index} (term {entry.term}), which is not what the log holds"
            )
