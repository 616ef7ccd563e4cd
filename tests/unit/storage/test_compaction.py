"""A log that begins at any index: old entries go, in bounded steps, and nothing that is needed goes with them."""

from pathlib import Path

import lmdb
import pytest

from replicator.model.errors import CorruptData
from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.storage import InvariantViolated, LogBounds, Storage
from replicator.storage.state import turn as turn_module
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
    """The commit index is 3 and 5 are applied: a restart may know fewer entries to be committed than it applied."""
    logged = entries(1, 9)
    storage.commit(TurnWrite(append=logged, hard_state=HardState(Term(1), None, LogIndex(3)), apply=logged[:5]))
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


def test_one_turn_deletes_a_bounded_number_of_entries(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "COMPACT_ENTRIES_MAX", 10)
    storage.commit(a_turn(*entries(1, 40)))
    firsts = []
    for _ in range(5):
        storage.commit(compact(35))
        firsts.append(storage.load_log().first_index)

    assert firsts == [11, 21, 31, 35, 35]
    assert [storage.digest_at(LogIndex(index)) is None for index in (34, 35)] == [True, False]


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


def test_a_hole_behind_the_first_entry_is_damage_not_compaction(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.commit(a_turn(*entries(1, 9)))
    storage.commit(compact(3))
    storage.close()
    with lmdb.open(str(tmp_path), max_dbs=9) as env, env.begin(write=True) as txn:
        assert txn.delete((5).to_bytes(8, "big"), db=env.open_db(b"log", txn=txn))
    again = opened(tmp_path)
    try:
        for first in (4, 5):
            with pytest.raises(CorruptData, match="entry 5 is missing"):
                read(again, first)
        assert read(again, 6) == [6, 7, 8, 9]
    finally:
        again.close()
