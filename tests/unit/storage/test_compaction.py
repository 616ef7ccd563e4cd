"""A log that begins at any index: old entries go, in bounded steps, and nothing that is needed goes with them."""

from pathlib import Path

import pytest

from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.storage import InvariantViolated, LogBounds, Storage
from replicator.storage.state import flush as flush_module
from tests.support.commands import a_turn, an_entry, put
from tests.support.storage_process import opened


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(an_entry(index, put(b"k%d" % index), term=term) for index in range(first, last + 1))


def compact(index: int) -> TurnWrite:
    return TurnWrite(compact_to=LogIndex(index))


def read(storage: Storage, first: int) -> list[int]:
    return [entry.index for entry in storage.read_entries(LogIndex(first), count_max=100, bytes_max=1 << 20)]


def test_entries_and_digests_before_the_point_go_and_the_point_stays(storage: Storage) -> None:
    storage.commit(a_turn(*entries(1, 9), commit_index=7))
    state_hash, position = storage.state_hash(), storage.position
    storage.commit(compact(5))

    assert storage.load_log() == LogBounds(LogIndex(5), LogIndex(9), Term(1))
    assert read(storage, 5) == [5, 6, 7, 8, 9]
    assert read(storage, 6) == [6, 7, 8, 9]
    assert (read(storage, 4), storage.term_at(LogIndex(4))) == ([], None), "compacted away, not damaged"
    assert storage.term_at(LogIndex(5)) == 1
    assert [storage.digest_at(LogIndex(index)) is not None for index in (4, 5, 7)] == [False, True, True]
    assert (storage.state_hash(), storage.position) == (state_hash, position)


def test_a_turn_compacts_after_all_else_that_it_does(storage: Storage) -> None:
    write = a_turn(*entries(1, 9), commit_index=7)
    storage.commit(
        TurnWrite(append=write.append, hard_state=write.hard_state, apply=write.apply, compact_to=LogIndex(7))
    )

    assert storage.load_log().first_index == 7
    assert storage.position.applied_index == 7


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (compact(4), "compaction to 4 beyond 3"),
        (
            TurnWrite(hard_state=HardState(Term(1), None, LogIndex(9)), compact_to=LogIndex(6)),
            "compaction to 6 beyond 5",
        ),
        (compact(10), "compaction to 10 beyond 3"),
    ],
)
def test_what_is_not_both_applied_and_committed_is_never_compacted(
    storage: Storage, write: TurnWrite, complaint: str
) -> None:
    """The log says that 3 are committed, and 5 are applied in memory."""
    logged = entries(1, 9)
    storage.commit(TurnWrite(append=logged, hard_state=HardState(Term(1), None, LogIndex(3))))
    storage.apply(logged[:5])
    with pytest.raises(InvariantViolated, match=complaint):
        storage.commit(write)
    assert read(storage, 1) == list(range(1, 10))


@pytest.mark.parametrize("index", [0, 1, 2, 4, 5])
def test_a_point_already_passed_asks_for_nothing(storage: Storage, index: int) -> None:
    storage.commit(a_turn(*entries(1, 9)))
    storage.commit(compact(5))
    storage.commit(compact(index))
    assert storage.load_log().first_index == 5


def test_an_empty_log_cannot_be_compacted(storage: Storage) -> None:
    storage.commit(compact(0))
    with pytest.raises(InvariantViolated, match="compaction to 1 beyond 0"):
        storage.commit(compact(1))


def test_what_a_restart_needs_is_never_compacted(tmp_path: Path) -> None:
    """The state on disk holds 3 entries; 7 more are applied in memory, and the log is all that has them."""
    storage = opened(tmp_path)
    storage.commit(a_turn(*entries(1, 3)))
    storage.commit(TurnWrite(append=entries(4, 10), hard_state=HardState(Term(1), None, LogIndex(10))))
    storage.apply(entries(4, 10))
    storage.commit(compact(9))
    assert storage.load_log().first_index == storage.stored_index() == 3
    storage.close(flushed=False)  # killed

    again = opened(tmp_path)
    assert (again.position.applied_index, again.applied_position.applied_index) == (3, 10)
    again.flush()
    again.commit(compact(9))
    assert again.load_log().first_index == 9
    again.close()


def test_digests_of_entries_that_are_gone_go_too_a_bounded_number_at_a_time(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush_module, "COMPACT_DIGESTS_MAX", 9)
    storage.commit(a_turn(*entries(1, 40)))
    storage.commit(compact(35))
    held = []
    for index in range(41, 46):
        storage.commit(a_turn(*entries(index, index), commit_index=index))
        with storage._environment.read() as txn:
            held.append(txn.stat(storage._databases.digests)["entries"])
    assert held == [31, 22, 13, 10, 11]


def test_a_compacted_store_opens_again_and_goes_on(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.commit(a_turn(*entries(1, 9), commit_index=7))
    storage.commit(compact(7))
    storage.commit(TurnWrite(truncate_from=LogIndex(8), append=entries(8, 8, term=2)))
    storage.close()
    again = opened(tmp_path)
    try:
        assert again.load_log() == LogBounds(LogIndex(7), LogIndex(8), Term(2))
        again.commit(a_turn(*entries(9, 9, term=2), commit_index=7))
        again.commit(
            TurnWrite(hard_state=HardState(Term(2), None, LogIndex(9)), apply=(*entries(8, 8, 2), *entries(9, 9, 2)))
        )
        assert again.position.applied_index == 9
        with pytest.raises(InvariantViolated, match="committed"):
            again.commit(TurnWrite(truncate_from=LogIndex(7)))
    finally:
        again.close()
