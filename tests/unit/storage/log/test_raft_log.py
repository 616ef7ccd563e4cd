"""The log in files: what is durable is there, what is torn is cut, what is damaged is never served."""

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.model.errors import CorruptData, DataDirectoryError, StorageFailed
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.storage.data_directory import locking
from replicator.storage.failures import DiskFull
from replicator.storage.log import raft_log, segment
from replicator.storage.log.raft_log import LogBounds, RaftLog
from replicator.storage.log.turn_format import INITIAL_HARD_STATE, SEGMENT_HEAD_BYTES
from tests.support.log_files import flip, place_of, scattered, segments

ID = b"\x01" * 8


def entries(first: int, last: int, term: int = 1, size: int = 20) -> tuple[Entry, ...]:
    return tuple(
        Entry(b"payload %d of term %d|" % (index, term) + b"x" * size, LogIndex(index), Term(term))
        for index in range(first, last + 1)
    )


def state(term: int, commit_index: int, vote: str | None = None) -> HardState:
    return HardState(Term(term), None if vote is None else NodeId(vote), LogIndex(commit_index))


def held(log: RaftLog) -> list[Entry]:
    bounds = log.bounds()
    return log.read(bounds.first_index, count_max=1 << 20, bytes_max=1 << 30) if bounds.last_index else []


@pytest.fixture
def log(tmp_path: Path) -> RaftLog:
    return RaftLog.create(tmp_path, ID, INITIAL_HARD_STATE)


def reopened(log: RaftLog, data_dir: Path) -> RaftLog:
    log.close()
    return RaftLog.open(data_dir, ID)


def test_what_was_written_is_there_after_opening_it_again(log: RaftLog, tmp_path: Path) -> None:
    log.write(TurnWrite(append=entries(1, 5), hard_state=state(2, 2, "a")))
    log.write(TurnWrite(truncate_from=LogIndex(4), append=entries(4, 4, term=2)))
    log.write(TurnWrite(), compact_to=LogIndex(2))

    def is_all_there(log: RaftLog) -> None:
        assert log.hard_state() == state(2, 2, "a")
        assert log.bounds() == LogBounds(LogIndex(2), LogIndex(4), Term(2))
        assert held(log) == [*entries(2, 3), *entries(4, 4, term=2)]
        assert [log.term_at(LogIndex(index)) for index in (1, 2, 4, 5)] == [None, 1, 2, None]

    is_all_there(log)
    again = reopened(log, tmp_path)
    is_all_there(again)
    again.close()


def test_a_log_that_begins_elsewhere_goes_on_from_there(tmp_path: Path) -> None:
    """As after a snapshot."""
    log = RaftLog.create(tmp_path, ID, state(7, 40), entries(40, 40, term=6)[0])
    log.write(TurnWrite(append=entries(41, 42, term=7)))
    again = reopened(log, tmp_path)
    assert again.bounds() == LogBounds(LogIndex(40), LogIndex(42), Term(7))
    assert again.hard_state() == state(7, 40)
    again.close()


def test_a_full_segment_is_followed_by_a_larger_one_and_old_ones_go_whole(log: RaftLog, tmp_path: Path) -> None:
    for index in range(1, 60):
        log.write(TurnWrite(append=entries(index, index, size=40_000), hard_state=state(1, index)))
    sizes = [path.stat().st_size for path in segments(tmp_path)]
    assert sizes == [segment.SEGMENT_BYTES_MIN << number for number in range(len(sizes))]
    assert len(sizes) >= 3
    log.write(TurnWrite(), compact_to=LogIndex(50))
    assert len(segments(tmp_path)) < len(sizes)

    again = reopened(log, tmp_path)
    assert again.bounds() == LogBounds(LogIndex(50), LogIndex(59), Term(1))
    assert held(again) == list(entries(50, 59, size=40_000))
    assert again.size_bytes() == sum(len(entry.payload) + 25 for entry in held(again))
    again.close()


def test_a_turn_larger_than_any_segment_gets_one_of_its_own(
    log: RaftLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raft_log, "SEGMENT_BYTES_MAX", 512 << 10)
    large = entries(1, 3, size=1 << 20)
    log.write(TurnWrite(append=large))
    assert held(log) == list(large)
    again = reopened(log, tmp_path)
    assert held(again) == list(large)
    again.close()


def full_disk(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    def reserve(fd: int, size_bytes: int) -> None:
        if size_bytes > free_bytes:
            raise OSError(28, "No space left on device")
        os.truncate(fd, size_bytes)

    monkeypatch.setattr(locking, "reserve", reserve)


def test_a_full_disk_shows_before_anything_is_written_and_the_same_turn_may_be_retried(
    log: RaftLog, tmp_path: Path
) -> None:
    log.write(TurnWrite(append=entries(1, 1)))
    before = [path.read_bytes() for path in segments(tmp_path)]
    turn = TurnWrite(append=entries(2, 2, size=400_000))
    with pytest.MonkeyPatch.context() as patch:
        full_disk(patch, 256 << 10)
        for _ in range(2):
            with pytest.raises(DiskFull):
                log.write(turn)
    assert [path.read_bytes() for path in segments(tmp_path)] == before
    assert [path.name for path in (tmp_path / "log" / ID.hex()).iterdir()] == [segments(tmp_path)[0].name]
    log.write(turn)
    again = reopened(log, tmp_path)
    assert again.last_index() == 2
    again.close()


def test_an_almost_full_disk_gets_a_smaller_segment(
    log: RaftLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch, 400 << 10)
    log.write(TurnWrite(append=entries(1, 1, size=200_000)))
    log.write(TurnWrite(append=entries(2, 2, size=200_000)))
    assert segments(tmp_path)[-1].stat().st_size == 256 << 10
    log.close()


@pytest.mark.parametrize("failure", [OSError(5, "Input/output error"), 0])
def test_a_write_that_fails_is_a_failure_of_the_storage(
    log: RaftLog, monkeypatch: pytest.MonkeyPatch, failure: object
) -> None:
    def write(_fd: int, _data: bytes, _at: int) -> object:
        if isinstance(failure, OSError):
            raise failure
        return failure

    monkeypatch.setattr(os, "pwrite", write)
    with pytest.raises(StorageFailed, match="committing"):
        log.write(TurnWrite(append=entries(1, 1)))
    assert log.last_index() == 0
    log.close()


@pytest.mark.parametrize("then", ["the same", "a shorter one", "nothing"])
def test_a_write_that_finds_no_room_half_way_counts_for_nothing_and_can_be_repeated(
    log: RaftLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """A short write, and no room for the rest: whatever is written in its place, nothing of it comes back."""
    log.write(TurnWrite(append=entries(1, 1)))
    plain = os.pwrite

    def half(fd: int, data: memoryview, at: int) -> int:
        if len(data) < 4096:
            raise OSError(28, "No space left on device")
        return plain(fd, data[:-1000], at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", half)
        for _ in range(2):
            with pytest.raises(DiskFull, match="committing"):
                log.write(TurnWrite(append=entries(2, 4, size=2000)))
    assert log.last_index() == 1
    if then != "nothing":
        log.write(TurnWrite(append=entries(2, 4, size=2000) if then == "the same" else entries(2, 2)))
    last = log.last_index()
    again = reopened(log, tmp_path)
    assert (again.last_index(), [entry.index for entry in again.read(LogIndex(1), count_max=9, bytes_max=1 << 20)]) == (
        last,
        list(range(1, last + 1)),
    )
    again.write(TurnWrite(append=entries(last + 1, last + 2)))
    third = reopened(again, tmp_path)
    assert third.last_index() == last + 2
    third.close()


# Torn and damaged


def test_what_was_left_of_a_cut_turn_never_comes_back(log: RaftLog, tmp_path: Path) -> None:
    """The first half of a torn turn is lost; the second half must not follow what is written in its place."""
    log.write(TurnWrite(append=entries(1, 1)))
    log.write(TurnWrite(append=entries(2, 3)))
    [file] = segments(tmp_path)
    second = place_of(file, b"payload 3 of")
    flip(file, place_of(file, b"payload 2 of"))
    again = reopened(log, tmp_path)
    assert again.last_index() == 1
    assert not file.read_bytes()[second:].strip(b"\0"), "the rest is blank"
    again.write(TurnWrite(append=entries(2, 2)))
    third = reopened(again, tmp_path)
    assert held(third) == list(entries(1, 2))
    third.close()


@pytest.mark.parametrize("what", [b"payload 1 of", b"payload 2 of"])
def test_damage_before_the_last_durable_turn_is_said_and_never_cut(log: RaftLog, tmp_path: Path, what: bytes) -> None:
    log.write(TurnWrite(append=entries(1, 1)))
    log.write(TurnWrite(append=entries(2, 2)))
    log.close(sealed=True)  # as a node does that stops
    [file] = segments(tmp_path)
    flip(file, place_of(file, what))
    damaged = file.read_bytes()
    with pytest.raises(CorruptData, match="damaged"):
        RaftLog.open(tmp_path, ID)
    assert file.read_bytes() == damaged
    readable = RaftLog.open(tmp_path, ID, writable=False)
    assert readable.damage is not None
    assert held(readable) == list(entries(1, int(what.split()[1]) - 1))
    readable.close()


def test_every_byte_that_flips_is_found_or_does_not_matter(log: RaftLog, tmp_path: Path) -> None:
    """In a log that was closed: what is read is what was written, or nothing is."""
    log.write(TurnWrite(append=entries(1, 2, size=3), hard_state=state(1, 1, "a")))
    log.write(TurnWrite(truncate_from=LogIndex(2), append=entries(2, 2, term=2, size=3)))
    log.close(sealed=True)
    [file] = segments(tmp_path)
    end = len(file.read_bytes().rstrip(b"\0"))
    refused = 0
    for at in range(end + 10):
        flip(file, at)
        try:
            again = RaftLog.open(tmp_path, ID, writable=False)
            refused += again.damage is not None
            if again.damage is None:
                assert held(again) == [*entries(1, 1, size=3), *entries(2, 2, term=2, size=3)]
                assert again.hard_state() == state(1, 1, "a")
            again.close()
        finally:
            flip(file, at)
    assert refused > (end - SEGMENT_HEAD_BYTES) * 0.7


def test_a_segment_that_is_missing_or_of_another_log_is_damage(log: RaftLog, tmp_path: Path) -> None:
    for index in range(1, 60):
        log.write(TurnWrite(append=entries(index, index, size=40_000)))
    log.close()
    first, second, *_ = segments(tmp_path)
    kept = second.read_bytes()
    second.unlink()
    with pytest.raises(CorruptData, match="segment 2 is missing"):
        RaftLog.open(tmp_path, ID)
    shutil.copy(first, second)
    with pytest.raises(CorruptData, match="follows turn"):
        RaftLog.open(tmp_path, ID)
    second.write_bytes(kept)
    (tmp_path / "log" / ID.hex()).rename(tmp_path / "log" / ("02" * 8))
    with pytest.raises(CorruptData, match="belongs to the log"):
        RaftLog.open(tmp_path, b"\x02" * 8)
    with pytest.raises(CorruptData, match="no log is there"):
        RaftLog.open(tmp_path, ID)


def test_a_log_that_others_may_write_to_is_refused(log: RaftLog, tmp_path: Path) -> None:
    log.close()
    segments(tmp_path)[0].chmod(0o666)
    with pytest.raises(DataDirectoryError, match="everybody may write"):
        RaftLog.open(tmp_path, ID)


turns = st.tuples(
    st.integers(0, 3),  # entries to truncate
    st.integers(0, 3),  # entries to append
    st.sampled_from([1, 900, 90_000]),
    st.booleans(),  # hard state
    st.integers(0, 3),  # to compact
)


@settings(deadline=None, max_examples=60)
@given(st.lists(turns, max_size=25), st.integers(0, 1 << 32))
def test_however_power_fails_the_log_holds_every_durable_turn_and_no_part_of_another(
    drawn: list[tuple[int, int, int, bool, int]], seed: int
) -> None:
    """Against a list, with a power failure now and then: any sectors of the write in progress are on the disk."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        log = RaftLog.create(data, ID, INITIAL_HARD_STATE)
        model, first, hard = list[Entry](), 1, INITIAL_HARD_STATE
        for term, (cut, added, size, votes, gone) in enumerate(drawn, start=1):
            last = first + len(model) - 1
            keep = max(first - 1 + (first > 1), last - cut, hard.commit_index)
            truncate = LogIndex(keep + 1) if keep < last else None
            append = entries(keep + 1, keep + added, term, size)
            commit = min(keep + added, hard.commit_index + 1)
            new_hard = state(term, commit, "v") if votes else None
            compact = LogIndex(min(first + gone, commit)) if gone and votes and commit > first else None
            write = TurnWrite(truncate, append, new_hard)
            files = {path: path.read_bytes() for path in segments(data)}
            log.write(write, compact)
            survived = True
            if dice.random() < 0.3:
                log.close()
                survived = tear(files, segments(data), dice)
                log = RaftLog.open(data, ID)
            if survived:
                model = [*model[: keep - first + 1], *append]
                hard = new_hard or hard
                if compact is not None:
                    model, first = model[compact - first :], int(compact)
            assert held(log) == model
            assert log.hard_state() == hard
        log.close()


def tear(before: dict[Path, bytes], now: list[Path], dice: random.Random) -> bool:
    """The last segment as a power failure leaves it. True if all of it is there."""
    file = now[-1]
    if set(now) != set(before) or not before[file]:
        return True  # a segment was made or deleted: left as it is
    new, old = file.read_bytes(), before[file]
    torn = scattered(old, new, dice)
    file.write_bytes(torn)
    return torn == new
