"""The facade: turns in, outcomes and reads out."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import pytest

from replicator.model.errors import CorruptData, DataDirectoryError, StorageFailed
from replicator.model.ids import LogIndex, NodeId, Revision, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.storage import InvariantViolated, LogBounds, ScanPage, Storage, StorageWriter, env
from replicator.storage.state import reads as reads_module
from tests.support.commands import a_turn, an_entry, delete, put
from tests.support.log_files import flip, segments
from tests.support.storage_process import BIG_VALUE, SIZE_MAX_BYTES, next_turn, opened
from tests.support.tampering import tampering


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(an_entry(index, put(b"k%d" % index), term=term) for index in range(first, last + 1))


def state(term: int, commit_index: int, vote: str | None = None) -> HardState:
    return HardState(Term(term), None if vote is None else NodeId(vote), LogIndex(commit_index))


# Log and hard state


def test_entries_are_appended_first_and_applied_in_a_later_turn(storage: Storage) -> None:
    logged = entries(1, 3)
    assert storage.commit(TurnWrite(append=logged)) == []
    assert storage.position.applied_index == 0
    [outcomes] = storage.commit(TurnWrite(hard_state=state(1, 1), apply=logged[:1]))

    assert (outcomes[0].revisions[0], storage.position.applied_index) == (1, 1)
    assert storage.load_log() == LogBounds(LogIndex(1), LogIndex(3), Term(1))
    assert storage.hard_state() == state(1, 1)


def test_a_conflicting_tail_is_replaced_in_one_turn(storage: Storage) -> None:
    storage.commit(TurnWrite(append=entries(1, 5), hard_state=state(1, 2)))
    storage.commit(TurnWrite(truncate_from=LogIndex(3), append=entries(3, 3, term=2), hard_state=state(2, 2)))

    assert storage.read_entries(LogIndex(1), count_max=10, bytes_max=1 << 20) == [
        *entries(1, 2),
        *entries(3, 3, term=2),
    ]
    assert [storage.term_at(LogIndex(index)) for index in (2, 3, 4)] == [1, 2, None]


def test_the_whole_uncommitted_log_can_be_truncated(storage: Storage) -> None:
    storage.commit(TurnWrite(append=entries(1, 40)))
    storage.commit(TurnWrite(truncate_from=LogIndex(1)))
    assert storage.load_log().last_index == 0
    storage.commit(TurnWrite(append=entries(1, 1, term=2)))
    assert storage.load_log().last_term == 2


def test_reading_entries_is_bounded_by_count_and_bytes(storage: Storage) -> None:
    storage.commit(TurnWrite(append=entries(1, 9)))
    size = len(entries(1, 1)[0].payload)

    def indexes(first: int, count_max: int, bytes_max: int) -> list[int]:
        return [e.index for e in storage.read_entries(LogIndex(first), count_max=count_max, bytes_max=bytes_max)]

    assert indexes(3, 4, 1 << 20) == [3, 4, 5, 6]
    assert indexes(1, 9, 2 * size) == [1, 2]
    assert indexes(1, 9, 0) == [1], "one at least, so that a reader gets on"
    assert indexes(10, 9, 1 << 20) == []


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (TurnWrite(append=entries(5, 5)), "append of entry 5, expected 4"),
        (TurnWrite(append=entries(3, 3)), "append of entry 3, expected 4"),
        (TurnWrite(truncate_from=LogIndex(2)), "which are committed"),
        (TurnWrite(apply=entries(2, 2)), "apply of entry 2, expected 1"),
        (TurnWrite(apply=entries(1, 1, term=2)), "not what the log holds"),
        (TurnWrite(apply=entries(1, 4)), "not what the log holds"),
        (TurnWrite(hard_state=state(1, 2)), "term 1 after 3"),
        (TurnWrite(hard_state=state(3, 2, "b")), "vote for b in term 3 after one for a"),
        (TurnWrite(hard_state=state(3, 2)), "vote for None in term 3 after one for a"),
        (TurnWrite(hard_state=state(3, 4, "a")), "beyond the last entry 3"),
    ],
)
def test_a_turn_that_contradicts_the_log_is_refused_whole(storage: Storage, write: TurnWrite, complaint: str) -> None:
    storage.commit(TurnWrite(append=entries(1, 3), hard_state=state(3, 2, "a")))
    with pytest.raises(InvariantViolated, match=complaint):
        storage.commit(write)

    assert storage.load_log().last_index == 3
    assert storage.hard_state() == state(3, 2, "a")
    assert storage.position.applied_index == 0


def test_a_new_term_may_vote_anew(storage: Storage) -> None:
    for hard_state in (state(1, 0, "a"), state(2, 0), state(2, 0, "b"), state(3, 0, "c")):
        storage.commit(TurnWrite(hard_state=hard_state))
        assert storage.hard_state() == hard_state


def damaged(path: Path, database: bytes, key: bytes) -> None:
    """Flips the last byte of one record, as a disk would."""
    with lmdb.open(str(path), max_dbs=16, map_size=SIZE_MAX_BYTES) as raw:
        db = raw.open_db(database)
        with raw.begin(write=True) as txn:
            value = txn.get(key, db=db)
            assert value is not None
            txn.put(key, value[:-1] + bytes((value[-1] ^ 1,)), db=db)


def test_a_damaged_log_is_refused_as_it_is_opened(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    logged = entries(1, 3)
    storage.commit(TurnWrite(append=logged, hard_state=state(1, 1), apply=logged[:1]))
    storage.close()
    [file] = segments(tmp_path)
    flip(file, file.read_bytes().index(logged[1].payload))

    with pytest.raises(DataDirectoryError, match=r"damaged or not written by replicator.*does not match its checksum"):
        opened(tmp_path)


def test_an_entry_that_is_damaged_while_the_node_runs_is_found_by_every_reader(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    logged = entries(1, 3)
    storage.commit(TurnWrite(append=logged, hard_state=state(1, 1), apply=logged[:1]))
    [file] = segments(tmp_path)
    flip(file, file.read_bytes().index(logged[1].payload))

    assert storage.term_at(LogIndex(1)) == 1
    with pytest.raises(CorruptData, match="entry 2 does not match its checksum"):
        storage.read_entries(LogIndex(1), count_max=3, bytes_max=1 << 20)
    storage.close()


def test_a_log_that_is_gone_is_never_taken_for_that_of_a_new_node(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.commit(TurnWrite(hard_state=state(4, 0, "a")))
    storage.close()
    segments(tmp_path)[0].unlink()

    with pytest.raises(DataDirectoryError, match=r"damaged.*no log is there"):
        opened(tmp_path)


# Reads


def test_a_read_says_which_revision_and_index_it_saw(storage: Storage) -> None:
    assert storage.get(b"a") == (None, 0, 0)
    storage.commit(a_turn(an_entry(1, put(b"a", b"1"), put(b"a", b"2"), delete(b"b"))))
    pair, revision, applied_index = storage.get(b"a")

    assert pair is not None
    assert (pair.value, pair.create_revision, pair.mod_revision, pair.version) == (b"2", 1, 2, 2)
    assert (revision, applied_index) == (2, 1)
    storage.commit(a_turn(an_entry(2, delete(b"a"))))
    assert storage.get(b"a") == (None, 3, 2)
    assert storage.get(b"") == (None, 3, 2)


def test_a_scan_at_a_past_revision_does_not_see_what_came_later(storage: Storage) -> None:
    storage.commit(a_turn(an_entry(1, put(b"a", b"1"), put(b"b", b"1"), put(b"c", b"1"))))
    storage.commit(a_turn(an_entry(2, put(b"a", b"2"), delete(b"b"), put(b"d", b"2"))))

    def seen(at_revision: int | None) -> list[tuple[bytes, bytes]]:
        at = None if at_revision is None else Revision(at_revision)
        page = storage.scan(b"", b"", at_revision=at, after_key=None, keys_max=10, bytes_max=1 << 20)
        assert page.revision == (6 if at_revision is None else at_revision)
        assert not page.more
        return [(pair.key, pair.value) for pair in page.kvs]

    assert seen(3) == [(b"a", b"1"), (b"b", b"1"), (b"c", b"1")]
    assert seen(4) == [(b"a", b"2"), (b"b", b"1"), (b"c", b"1")]
    assert seen(5) == [(b"a", b"2"), (b"c", b"1")]
    assert seen(None) == seen(6) == [(b"a", b"2"), (b"c", b"1"), (b"d", b"2")]
    assert seen(0) == []


def test_a_page_ends_at_its_keys_or_bytes_and_says_whether_more_follows(storage: Storage) -> None:
    storage.commit(a_turn(an_entry(1, *(put(b"%d" % n, b"x" * 9) for n in range(5)))))

    def page(keys_max: int, bytes_max: int, after_key: bytes | None = None) -> tuple[list[bytes], bool]:
        found = storage.scan(b"1", b"4", after_key=after_key, keys_max=keys_max, bytes_max=bytes_max)
        return [pair.key for pair in found.kvs], found.more

    assert page(10, 1 << 20) == ([b"1", b"2", b"3"], False)
    assert page(3, 1 << 20) == ([b"1", b"2", b"3"], False), "more is exact"
    assert page(2, 1 << 20) == ([b"1", b"2"], True)
    assert page(10, 20) == ([b"1", b"2"], True)
    assert page(10, 1 << 20, after_key=b"2") == ([b"3"], False)
    assert page(10, 1 << 20, after_key=b"3") == ([], False)


def test_a_page_over_deleted_keys_is_bounded_and_can_be_continued(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads_module, "EXAMINED_KEYS_MAX", 10)
    keys = [b"%03d" % n for n in range(35)]
    storage.commit(a_turn(an_entry(1, *(put(key) for key in keys), *(delete(key) for key in keys[:34]))))

    pages: list[ScanPage] = []
    after_key = None
    while not pages or pages[-1].more:
        pages.append(storage.scan(b"", None, after_key=after_key, keys_max=100, bytes_max=1 << 20))
        after_key = pages[-1].last_key
    assert [len(page.kvs) for page in pages] == [0, 0, 0, 1]


# Growth, threads


def test_readers_and_the_state_hash_survive_a_growing_map(storage: Storage) -> None:
    """Reads run on two threads while commits force the map to grow several times."""
    stop = threading.Event()

    def read_all() -> int:
        reads = 0
        while not stop.is_set():
            pair, revision, applied_index = storage.get(b"shared")
            assert revision == 3 * applied_index
            assert pair is None or pair.value == b"%d" % applied_index
            reads += 1
        return reads

    def hash_all() -> int:
        hashes = 0
        while not stop.is_set():
            storage.state_hash()
            hashes += 1
        return hashes

    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(read_all), threads.submit(hash_all)]
        try:
            for _ in range(120):
                storage.commit(next_turn(storage, BIG_VALUE))
        finally:
            stop.set()
        assert all(each.result(timeout=60) > 0 for each in running)
    assert storage.data_bytes() > 4 * env.MAP_BYTES_INITIAL


def test_one_turn_larger_than_the_map_still_fits(storage: Storage) -> None:
    value = b"x" * (1 << 20)
    storage.commit(a_turn(*(an_entry(index, put(b"%d" % index, value)) for index in range(1, 41))))
    assert storage.position.live_keys == 40


def test_a_closed_storage_refuses_politely(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    write = next_turn(storage)
    storage.close()
    with pytest.raises(StorageFailed, match="is closed"):
        storage.get(b"a")
    with pytest.raises(StorageFailed, match="is closed"):
        storage.commit(write)
    assert storage.data_bytes() == 0


async def test_the_writer_commits_off_the_loop(storage: Storage) -> None:
    writer = StorageWriter(storage)
    [outcomes] = await writer.commit(next_turn(storage))
    assert [outcome.revisions[0] for outcome in outcomes] == [1, 2, 3]
    await writer.close()


def test_a_damaged_change_is_found_by_every_reader_and_never_served(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.commit(a_turn(an_entry(1, put(b"a", b"first"), put(b"a", b"second"), put(b"b", b"sound"))))
    storage.close()
    damaged(tmp_path, b"changes", (1).to_bytes(8, "big") + bytes(4))
    damaged(tmp_path, b"changes", (2).to_bytes(8, "big") + bytes(4))
    storage = opened(tmp_path)

    sound = storage.get(b"b")[0]
    assert sound is not None
    assert sound.value == b"sound"
    with pytest.raises(CorruptData, match="the change of revision 2 does not match its checksum"):
        storage.get(b"a")
    with pytest.raises(CorruptData, match="revision 1 does not match"):
        storage.scan(b"", b"", at_revision=Revision(1), keys_max=9, bytes_max=99)
    with pytest.raises(CorruptData, match="revision 2"):
        storage.state_hash()
    storage.close()


@pytest.mark.parametrize("lost", ["changes", "index"])
def test_a_change_that_is_missing_or_of_another_key_is_never_served(tmp_path: Path, lost: str) -> None:
    storage = opened(tmp_path)
    storage.commit(a_turn(an_entry(1, put(b"a", b"1"), put(b"b", b"2"))))
    storage.close()
    with tampering(tmp_path) as (txn, databases):
        if lost == "changes":
            txn.delete((1).to_bytes(8, "big") + bytes(4), db=databases.changes)
        else:
            txn.put(b"a", txn.get(b"b", db=databases.index) or b"", db=databases.index)
    storage = opened(tmp_path)
    with pytest.raises(CorruptData, match="has no change" if lost == "changes" else "is of another key"):
        storage.get(b"a")
    storage.close()
