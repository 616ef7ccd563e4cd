"""What one turn may ask of the log: asked before anything is written, since a turn that makes no sense is a bug."""

from replicator.model.ids import LogIndex
from replicator.model.limits import INDEX_MAX, TERM_MAX
from replicator.model.log import HardState, TurnWrite
from replicator.storage.failures import InvariantViolated
from replicator.storage.log.raft_log import RaftLog


def check_turn(log: RaftLog, write: TurnWrite, applied_index: LogIndex) -> None:
    """applied_index: of the state, in memory or on disk. Raises InvariantViolated."""
    _check_range(write)
    last_index = log.last_index()
    if write.truncate_from is not None:
        kept = max(log.hard_state().commit_index, applied_index)
        if write.truncate_from <= kept:
            raise InvariantViolated(
                f"truncation from {write.truncate_from} would delete entries up to {kept}, which are committed"
            )
        last_index = min(last_index, LogIndex(write.truncate_from - 1))
    for offset, entry in enumerate(write.append, start=1):
        if entry.index != last_index + offset:
            raise InvariantViolated(f"append of entry {entry.index}, expected {last_index + offset}")
    if write.hard_state is not None:
        _check_hard_state(log.hard_state(), write.hard_state, LogIndex(last_index + len(write.append)))


def _check_range(write: TurnWrite) -> None:
    """No such number is kept: no node could act on it, or start with it."""
    terms = [entry.term for entry in write.append]
    indexes = [entry.index for entry in write.append]
    if write.hard_state is not None:
        terms.append(write.hard_state.term)
        indexes.append(write.hard_state.commit_index)
    if max(terms, default=0) > TERM_MAX or max(indexes, default=0) > INDEX_MAX:
        raise InvariantViolated(f"term {max(terms)} or index {max(indexes)} is out of range")


def _check_hard_state(old: HardState, new: HardState, last_index: LogIndex) -> None:
    """Terms never move back; a vote, once given, is not changed within its term; only what is held can be committed."""
    if new.term < old.term:
        raise InvariantViolated(f"term {new.term} after {old.term}")
    if new.term == old.term and old.voted_for is not None and new.voted_for != old.voted_for:
        raise InvariantViolated(f"vote for {new.voted_for} in term {new.term} after one for {old.voted_for}")
    if new.commit_index > last_index:
        raise InvariantViolated(f"commit index {new.commit_index} beyond the last entry {last_index}")
    if new.commit_index < old.commit_index:
        raise InvariantViolated(f"commit index {new.commit_index} after {old.commit_index}")
