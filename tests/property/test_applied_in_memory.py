"""What is applied in memory answers at once, reaches the disk with a later flush, and survives a kill."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicator.machine.apply import apply_entry
from replicator.machine.digest import state_hash
from replicator.model.errors import StorageFailed
from replicator.model.ids import LogIndex, Revision, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.storage import Storage, applied_state
from replicator.storage.env import Environment
from replicator.storage.failures import DiskFull
from tests.support.commands import an_entry, by, compact, delete, put, swap
from tests.support.memory_store import MemoryStore
from tests.support.storage_process import opened

keys = st.sampled_from([b"a", b"a\x00", b"b", b"l" * 450, b"l" * 451])
values = st.sampled_from([b"", b"1", b"x" * 2000])
write_ids = st.none() | st.builds(
    lambda client, sequence, back: by(client, sequence, max(1, sequence - back)),
    st.integers(1, 3),
    st.integers(1, 8),
    st.integers(0, 6),
)
batches = (
    st.builds(put, keys, values, write_ids)
    | st.builds(delete, keys, write_ids)
    | st.builds(swap, keys, values, st.integers(0, 20), write_ids)
    | st.builds(compact, st.integers(1, 20))
)
entries = st.tuples(st.lists(batches, max_size=5), st.sampled_from([1, 1000, 5_000_000, 9_000_000]))
acts = st.sampled_from(["log", "log", "apply", "apply", "flush", "commit", "fail", "crash", "both"])


@dataclass
class Run:
    """A storage under a node that logs first, applies when it likes, and dies."""

    place: Path
    log: list[Entry]
    held: Storage
    lives: int = 0
    model: MemoryStore = field(default_factory=MemoryStore)
    outcomes: list[Any] = field(default_factory=list)

    @property
    def logged(self) -> int:
        return self.held.load_log().last_index

    @property
    def applied(self) -> int:
        return self.held.applied_position.applied_index

    def append(self) -> None:
        """The next entry, without applying it."""
        if self.logged < len(self.log):
            entry = self.log[self.logged]
            self.held.commit(TurnWrite(append=(entry,), hard_state=HardState(Term(1), None, entry.index)))

    def apply(self) -> None:
        """All that is logged, in memory."""
        due = self.log[self.applied : self.logged]
        self.check(due, self.held.apply(due))

    def both(self) -> None:
        """Applies and commits in one, as a node does that has no other way."""
        due = tuple(self.log[self.applied : self.logged])
        self.check(list(due), self.held.commit(TurnWrite(apply=due)))

    def fail(self) -> None:
        """A flush fails, and with it every commit until one succeeds; then the same commit goes on."""
        before, due = self.held.position, tuple(self.log[self.applied : self.logged])
        write = TurnWrite(hard_state=HardState(Term(1), None, LogIndex(self.logged)), apply=due)
        if self.held.position == self.held.applied_position:
            return
        with pytest.MonkeyPatch.context() as patch:
            failing(patch)
            for attempt in (self.held.flush, lambda: self.held.commit(write), lambda: self.held.commit(write)):
                with pytest.raises(DiskFull):
                    attempt()
        assert self.held.position == before
        self.check(list(due), self.held.commit(write))

    def check(self, due: list[Entry], outcomes: list[Any]) -> None:
        """Equal to those of the dicts, also when the entry was applied before the crash."""
        for entry, found in zip(due, outcomes, strict=True):
            if entry.index > self.model.applied_index:
                self.outcomes.append(apply_entry(self.model, entry))
            assert found == self.outcomes[entry.index - 1]

    def crash(self) -> None:
        """What is on disk is copied, and opened as after a kill."""
        self.lives += 1
        copy = self.place / f"life-{self.lives}"
        shutil.copytree(self.held.path, copy)
        flushed = self.held.position
        self.held.close(flushed=False)
        self.held = opened(copy)
        assert self.held.position == flushed
        assert self.applied == self.logged, "what the log says to be committed is applied as it is opened"
        for entry in self.log[self.model.applied_index : self.applied]:
            self.outcomes.append(apply_entry(self.model, entry))

    def agree(self) -> None:
        """Reads see all that is applied; scans and hashes the last flush; the log is never behind either."""
        held, model = self.held, self.model
        durable, applied = held.position, held.applied_position
        assert durable.applied_index <= applied.applied_index <= self.logged
        if applied.applied_index < model.applied_index:
            return  # a crash has taken it back, and nothing was applied since
        assert applied.rolling_hash == model.rolling_hash
        assert (applied.revision, applied.live_keys) == (model.revision, model.live_keys)
        assert applied.time_ms == held.log_time_ms() == model.time_ms
        live = {pair[0]: pair[1:] for pair in model.pairs_at(model.revision)}
        names = [b"a", b"a\x00", b"b", b"l" * 450, b"l" * 451, b"never"]
        columns, revision, index = held.get_many(names, bytes_max=1 << 20)
        assert (revision, index) == (model.revision, model.applied_index)
        numbers = zip(columns.create_revisions, columns.mod_revisions, columns.versions, strict=True)
        for name, value, found in zip(names, columns.values, numbers, strict=True):
            assert (value, *found) == live.get(name, (b"", 0, 0, 0))
            pair = held.get(name)[0]
            assert (pair is not None) == (name in live)
        assert held.digest_at(LogIndex(model.applied_index)) == (model.digests.get(model.applied_index))
        page = held.scan(b"", b"", keys_max=100, bytes_max=1 << 20)
        assert (page.applied_index, page.revision) == (durable.applied_index, durable.revision)


def failing(patch: pytest.MonkeyPatch) -> None:
    """The next flush does all its work, and then the disk is full."""
    original = Environment.write

    def full(self: Environment, work: Any) -> Any:
        def then_full(txn: Any) -> None:
            work(txn)
            raise DiskFull("no room")

        return original(self, then_full)

    patch.setattr(Environment, "write", full)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(entries, min_size=1, max_size=8), st.lists(acts, max_size=24))
def test_however_applying_committing_failing_and_dying_interleave_the_state_is_that_of_the_log(
    drawn: list[tuple[list[bytes], int]], course: list[str]
) -> None:
    log = [an_entry(index, *some, time_ms=time_ms) for index, (some, time_ms) in enumerate(drawn, start=1)]
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), log, opened(Path(folder) / "life-0"))
        for act in course:
            match act:
                case "log":
                    run.append()
                case "apply":
                    run.apply()
                case "commit":
                    before = run.held.position
                    run.held.commit(TurnWrite())
                    assert run.held.position == before, "only a flush moves the state"
                case "flush":
                    run.held.flush()
                    assert run.held.position == run.held.applied_position
                case "fail":
                    run.fail()
                case "crash":
                    run.crash()
                case "both":
                    run.both()
            run.agree()
        while run.logged < len(log):
            run.append()
        run.both()
        run.held.flush()
        assert run.held.position == run.held.applied_position
        agreed = state_hash(run.model.pairs_at(run.model.revision)), len(log)
        assert run.held.state_hash() == agreed
        for revision in range(run.model.compacted_revision, run.model.revision + 1):
            page = run.held.scan(b"", b"", at_revision=Revision(revision), keys_max=100, bytes_max=1 << 20)
            pairs = [(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version) for kv in page.kvs]
            assert pairs == run.model.pairs_at(revision)
        path = run.held.path
        run.held.close()
        reopened = opened(path)
        assert (reopened.state_hash(), reopened.position.rolling_hash) == (agreed, run.model.rolling_hash)
        reopened.close()


def test_apply_leaves_the_rest_when_too_much_waits_for_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applied_state, "APPLIED_ENTRIES_MAX", 3)
    held = opened(tmp_path)
    log = [an_entry(index, put(b"%d" % index)) for index in range(1, 6)]
    held.commit(TurnWrite(append=tuple(log), hard_state=HardState(Term(1), None, LogIndex(5))))
    assert (len(held.apply(log)), held.apply(log[3:])) == (3, [])
    held.flush()
    assert len(held.apply(log[3:])) == 2
    held.close()


def test_an_entry_out_of_turn_ends_the_storage(tmp_path: Path) -> None:
    held = opened(tmp_path)
    log = [an_entry(index, put(b"%d" % index)) for index in range(1, 4)]
    held.commit(TurnWrite(append=tuple(log)))
    held.apply(log[:1])
    with pytest.raises(StorageFailed, match="expected 2"):
        held.apply(log[2:])
    with pytest.raises(StorageFailed):
        held.commit(TurnWrite())
    held.close()


def test_what_the_log_does_not_hold_is_never_applied(tmp_path: Path) -> None:
    """The state may be older than the log, never newer."""
    held = opened(tmp_path)
    with pytest.raises(StorageFailed, match="not what the log holds"):
        held.apply([an_entry(1, put(b"k"))])
    held.close()
    again = opened(tmp_path)
    assert (again.get(b"k")[0], again.position.applied_index) == (None, 0)
    again.close()


def test_what_the_log_does_not_say_to_be_committed_is_applied_and_waits_in_memory(tmp_path: Path) -> None:
    """As between a turn that learns of a commit and its own commit. What a flush could not take, a later one does."""
    held = opened(tmp_path)
    log = [an_entry(index, put(b"%d" % index)) for index in range(1, 4)]
    held.commit(TurnWrite(append=tuple(log), hard_state=HardState(Term(1), None, LogIndex(1))))
    held.apply(log)
    held.flush()
    assert (held.position.applied_index, held.applied_position.applied_index) == (0, 3)
    held.commit(TurnWrite(hard_state=HardState(Term(1), None, LogIndex(3))))
    assert held.flush_is_due, "it was asked for"
    held.flush()
    assert held.position.applied_index == 3
    held.close()


def test_a_large_layer_is_frozen_by_the_commit_that_covers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applied_state, "FLUSH_CHANGES", 4)
    held = opened(tmp_path)
    log = [an_entry(index, put(b"a%d" % index), put(b"b%d" % index)) for index in range(1, 4)]
    for entry in log:
        held.commit(TurnWrite(append=(entry,), hard_state=HardState(Term(1), None, LogIndex(entry.index - 1))))
        held.apply(log[held.applied_position.applied_index : entry.index - 1])
    due = [held.flush_is_due]
    held.commit(TurnWrite(hard_state=HardState(Term(1), None, LogIndex(3))))
    due.append(held.flush_is_due)
    assert due == [False, True]
    held.close()


def test_under_a_steady_load_a_flush_does_not_make_the_next_one_due(tmp_path: Path) -> None:
    """As at a node that always applies what its log says to be committed with the next commit only."""
    held = opened(tmp_path)
    dues: list[int] = []
    for index in range(1, 30):
        entry = an_entry(index, put(b"%d" % index))
        held.commit(TurnWrite(append=(entry,), hard_state=HardState(Term(1), None, LogIndex(index - 1))))
        is_due = held.flush_is_due
        held.apply([entry])
        if index == 10:
            held.flush()  # asks for entry 10, which the log says to be committed with the next commit
        elif is_due:
            dues.append(index)
            held.flush_due()
    assert (dues, held.position.applied_index) == ([11], 10)
    held.flush()
    held.close()
