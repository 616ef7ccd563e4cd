"""The journal agrees with a plain list, whatever is appended, truncated, evicted, committed or read back from disk."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from replicator.engine.stock import journal
from replicator.engine.stock.journal import TurnJournal
from replicator.model.ids import ClusterId, LogIndex, NodeId, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.storage.failures import InvariantViolated
from replicator.storage.storage import Storage
from tests.support.replicas import HandDisk

CACHE_BYTES = 400
LOAD_COUNT = 4
PAYLOADS = st.binary(min_size=1, max_size=120)


def a_journal(entries: int, disk: HandDisk | None = None) -> tuple[TurnJournal, HandDisk]:
    """A journal of so many durable entries of term 1, of which the first is committed."""
    disk = disk or HandDisk()
    made = TurnJournal(disk)
    made.setCurrentTerm(1, None)
    for index in range(1, entries + 1):
        made.add(b"%d" % index, index, 1)
    made.setRaftCommitIndex(1)
    take(made, disk)
    return made, disk


def take(made: TurnJournal, disk: HandDisk) -> TurnWrite:
    """One turn."""
    truncate_from, append, hard_state = made.take()
    write = TurnWrite(truncate_from, append, hard_state)
    disk.commit(write)
    made.committed(hard_state)
    return write


class JournalAgreesWithAList(RuleBasedStateMachine):
    """`entries` is what the log should be; real storage holds what left the journal."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(journal, "CACHE_BYTES_MAX", CACHE_BYTES)
        self.patch.setattr(journal, "LOAD_COUNT_MAX", LOAD_COUNT)
        self.directory = tempfile.TemporaryDirectory()
        self.entries: list[Entry] = []
        self.state = HardState(Term(0), None, LogIndex(0))
        self._open()

    def _open(self) -> None:
        self.storage = Storage.open(
            Path(self.directory.name) / "n",
            cluster_id=ClusterId("c"),
            node_id=NodeId("n"),
            size_max_bytes=1 << 24,
        )
        self.journal = TurnJournal(self.storage)

    def teardown(self) -> None:
        self.storage.close()
        self.directory.cleanup()
        self.patch.undo()

    @initialize()
    def first_entry(self) -> None:
        """SyncObj's own first entry."""
        self._add(b"\x01", 0)

    def _add(self, payload: bytes, term: int) -> None:
        entry = Entry(payload, LogIndex(len(self.entries) + 1), Term(term))
        self.journal.add(*entry)
        self.entries.append(entry)

    @rule(payloads=st.lists(PAYLOADS, min_size=1, max_size=6))
    def append(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            self._add(payload, self.state.term)

    @precondition(lambda self: self.state.commit_index < len(self.entries))
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        """As SyncObj asks: a position relative to the first entry."""
        index = data.draw(st.integers(max(1, self.state.commit_index) + 1, len(self.entries) + 1), "index")
        self.journal.deleteEntriesFrom(index - self.entries[0].index)
        del self.entries[index - 1 :]

    @precondition(lambda self: self.state.commit_index < len(self.entries))
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        index = LogIndex(data.draw(st.integers(self.state.commit_index, len(self.entries)), "commit"))
        self.journal.setRaftCommitIndex(index)
        self.state = HardState(self.state.term, self.state.voted_for, index)

    @rule(vote=st.sampled_from([None, "a", "b"]))
    def next_term(self, vote: str | None) -> None:
        self.state = HardState(Term(self.state.term + 1), NodeId(vote) if vote else None, self.state.commit_index)
        self.journal.setCurrentTerm(self.state.term, vote)

    @rule()
    def turn(self) -> None:
        truncate_from, append, hard_state = self.journal.take()
        self.storage.commit(TurnWrite(truncate_from, append, hard_state))
        self.journal.committed(hard_state)
        assert self.journal.durable_hard_state == self.state
        assert self.journal.take() == (None, (), None), "what was taken is not taken again"

    @rule()
    def restart(self) -> None:
        self.turn()
        self.storage.close()
        self._open()

    @invariant()
    def agrees(self) -> None:
        if not self.entries:
            return
        assert len(self.journal) == len(self.entries)
        assert (self.journal.first_index, self.journal.last_index) == (1, len(self.entries))
        assert (self.journal[0], self.journal[-1]) == (self.entries[0], self.entries[-1])
        assert self.journal.hard_state == self.state
        assert self.journal.getRaftCommitIndex() == self.state.commit_index
        assert (self.journal.getCurrentTerm(), self.journal.getVotedForNodeId()) == (
            self.state.term, self.state.voted_for,
        )  # fmt: skip

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), bytes_max=st.integers(1, 2 * CACHE_BYTES))
    def read(self, data: st.DataObject, bytes_max: int) -> None:
        """Also what memory no longer holds."""
        place = data.draw(st.integers(0, len(self.entries) - 1), "place")
        count = data.draw(st.integers(0, 5), "count")
        assert self.journal.entry(LogIndex(place + 1)) == self.entries[place]
        assert list(self.journal[place : place + count]) == self.entries[place : place + count]
        assert list(self.journal[place:]) == self.entries[place:]
        batch = self.journal.batch(LogIndex(place + 1), bytes_max)
        assert batch == self.entries[place : place + len(batch)]
        assert 1 <= len(batch) <= LOAD_COUNT
        assert len(batch) == 1 or sum(len(entry.payload) for entry in batch) <= bytes_max

    @invariant()
    def memory_is_bounded(self) -> None:
        """Beyond the cache, memory holds what is uncommitted or not yet durable, and nothing else of size."""
        committed = [entry for entry in self.journal._tail if entry.index < self.state.commit_index]
        assert sum(len(entry.payload) for entry in self.journal._tail) == self.journal._tail_bytes
        assert sum(len(entry.payload) for entry in committed) <= 20 * CACHE_BYTES


JournalAgreesWithAList.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_the_journal_agrees_with_a_list = JournalAgreesWithAList.TestCase


def test_committed_entries_leave_memory_and_are_read_from_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of a year must not live in memory."""
    monkeypatch.setattr(journal, "CACHE_BYTES_MAX", CACHE_BYTES)
    made, disk = a_journal(1)
    for index in range(2, 101):
        made.add(b"%0100d" % index, index, 1)
        made.setRaftCommitIndex(index)
        take(made, disk)

    assert made._tail_bytes <= CACHE_BYTES
    assert [made.entry(LogIndex(index)).payload for index in (2, 50, 100)] == [b"%0100d" % n for n in (2, 50, 100)]


def test_a_log_larger_than_the_window_is_opened_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window is cut by count and by bytes; the last entry is always in it."""
    monkeypatch.setattr(journal, "CACHE_BYTES_MAX", 30)
    _, disk = a_journal(100)
    made = TurnJournal(disk)

    assert made[-1].payload == b"100"
    assert [entry.index for entry in made.batch(LogIndex(98), 1000)] == [98, 99, 100]


def test_a_batch_never_holds_what_this_turn_has_truncated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk still has it: the truncation is durable only after the turn."""
    monkeypatch.setattr(journal, "LOAD_COUNT_MAX", 2)
    _, disk = a_journal(6)
    made = TurnJournal(disk)
    made.deleteEntriesFrom(3)

    assert [entry.index for entry in made.batch(LogIndex(3), 1000)] == [3]


def test_a_conflicting_tail_is_deleted_and_replaced_in_one_write() -> None:
    made, disk = a_journal(5)
    made.deleteEntriesFrom(2)
    made.add(b"new", 3, 1)
    write = take(made, disk)

    assert (write.truncate_from, [entry.index for entry in write.append]) == (3, [3])
    assert [entry.payload for entry in disk.entries] == [b"1", b"2", b"new"]


def test_what_never_reached_the_disk_is_truncated_in_memory_only() -> None:
    made, disk = a_journal(2)
    made.add(b"3", 3, 1)
    made.deleteEntriesFrom(2)
    write = take(made, disk)

    assert write == TurnWrite()


def test_two_truncations_of_one_turn_cut_at_the_lower_place() -> None:
    made, disk = a_journal(9)
    made.deleteEntriesFrom(7)
    made.add(b"x", 8, 1)
    made.deleteEntriesFrom(3)
    made.add(b"y", 4, 1)
    write = take(made, disk)

    assert (write.truncate_from, [entry.payload for entry in write.append]) == (4, [b"y"])


@pytest.mark.parametrize("position", [0, 2])
def test_committed_entries_are_never_deleted(position: int) -> None:
    """Leader completeness: the guard refuses an append that would; beyond it there is a bug, and the node stops."""
    made, disk = a_journal(5)
    made.setRaftCommitIndex(3)
    take(made, disk)
    with pytest.raises(InvariantViolated, match="committed"):
        made.deleteEntriesFrom(position)


def test_stock_machinery_that_would_drop_the_log_stops_the_node() -> None:
    """Faults 8 and 9: only stock snapshots clear or compact, and they are off."""
    made, _ = a_journal(3)
    with pytest.raises(InvariantViolated):
        made.clear()
    with pytest.raises(InvariantViolated):
        made.deleteEntriesTo(1)


def test_terms_votes_and_commits_never_move_back() -> None:
    made, _ = a_journal(3)
    made.setRaftCommitIndex(2)
    made.setCurrentTerm(4, "a")
    with pytest.raises(AssertionError, match="commit"):
        made.setRaftCommitIndex(1)
    with pytest.raises(AssertionError, match="term"):
        made.setCurrentTerm(3, None)
    with pytest.raises(AssertionError, match="one vote"):
        made.setCurrentTerm(4, "b")


def test_a_gap_in_the_log_is_refused() -> None:
    made, _ = a_journal(3)
    with pytest.raises(AssertionError):
        made.add(b"x", 5, 1)


def test_an_open_ended_slice_is_read_only_when_looked_at() -> None:
    """SyncObj slices the whole log to look at its head: a million entries must not be read for that."""
    made, _ = a_journal(50)
    found = made[0:]
    assert isinstance(found, Sequence)
    assert not isinstance(found, list)
    assert (len(found), found[0].index, found[-1].index) == (50, 1, 50)
    assert [entry.index for entry in found[10:12]] == [11, 12]
    with pytest.raises(IndexError):
        found[50]
    assert not made[50:]
