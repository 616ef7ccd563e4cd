"""The engine's journal: a window of the log in memory, and what the present turn must make durable.

SyncObj appends, truncates and votes here while it ticks; nothing touches the disk until the driver takes the turn's
`TurnWrite` and commits it. Knows: entries, positions. Must not know: LMDB, asyncio, messages.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol, SupportsIndex, overload

from pysyncobj.journal import Journal

from replicator.model.errors import CorruptData
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import Entry, HardState
from replicator.model.members import Membership
from replicator.storage.failures import InvariantViolated
from replicator.v1 import store_pb2

CACHE_BYTES_MAX: Final = 32 << 20
NOTHING_APPLIED: Final = LogIndex(0)
LOAD_COUNT_MAX: Final = 4096  # entries read, or sent, at a time


class LogBoundsPort(Protocol):
    """Positions of the first and last entry held."""

    @property
    def first_index(self) -> LogIndex: ...

    @property
    def last_index(self) -> LogIndex: ...


class LogReader(Protocol):
    """The durable log as the journal reads it."""

    def load_log(self) -> LogBoundsPort:
        """First and last durable entry; all 0 if the log is empty."""
        ...

    def read_entries(self, first: LogIndex, *, count_max: int, bytes_max: int) -> list[Entry]:
        """Entries from `first` on, at least one if it is held. Raises CorruptData."""
        ...

    def hard_state(self) -> HardState: ...

    def log_bytes(self) -> int:
        """Bytes that the durable log takes."""
        ...

    def stored_index(self) -> LogIndex:
        """Of the state on disk: a restart begins there, so the log must go back to it."""
        ...

    def digest_at(self, index: LogIndex) -> bytes | None:
        """Rolling hash after `index`; None if it is not applied here, or compacted away."""
        ...

    def membership(self) -> Membership | None:
        """What was applied last; None if the group has never changed it."""
        ...

    def timing(self) -> store_pb2.Timing | None:
        """What was applied last; None if the group has never agreed on timers."""
        ...

    def log_time_ms(self) -> int:
        """Of the newest batch applied; 0 if none was ever."""
        ...


class TurnJournal(Journal):  # type: ignore[misc]  # pysyncobj has no types
    """Implements pysyncobj's Journal. Positions in its calls are relative to the first entry held, as it expects."""

    def __init__(self, log: LogReader, applied_index: LogIndex = NOTHING_APPLIED) -> None:
        self._log = log
        self.applied_index = applied_index  # set by the replica, once what a turn applies is
        bounds = log.load_log()
        self._first, self._last = LogIndex(max(1, bounds.first_index)), bounds.last_index
        self._taken_last = self._durable_last = self._last
        self._hard_state = self._durable_hard_state = log.hard_state()
        self._tail_first = LogIndex(max(self._first, self._last - LOAD_COUNT_MAX + 1))
        self._tail = self._load(self._tail_first, CACHE_BYTES_MAX) if self._last >= self._first else []
        self._tail_bytes = sum(len(entry.payload) for entry in self._tail)
        while self._tail and self._tail[-1].index < self._last:  # the window was cut short by bytes: load the rest
            more = self._load(LogIndex(self._tail[-1].index + 1), CACHE_BYTES_MAX)
            self._tail.extend(more)
            self._tail_bytes += sum(len(entry.payload) for entry in more)
        self._head = self._load(self._first, 1)[0] if self._last >= self._first else None
        self._truncate_from: LogIndex | None = None

    # What the driver and the pump ask ------------------------------------------------------------------------------

    @property
    def first_index(self) -> LogIndex:
        """Index of the oldest entry held."""
        return self._first

    @property
    def last_index(self) -> LogIndex:
        """Index of the newest entry, durable or not."""
        return self._last

    @property
    def durable_index(self) -> LogIndex:
        """Entries up to this one are on this node's disk, as they are here."""
        return self._durable_last

    @property
    def durable_hard_state(self) -> HardState:
        """As of the last turn that was taken and committed."""
        return self._durable_hard_state

    @property
    def hard_state(self) -> HardState:
        """As of now, durable or not."""
        return self._hard_state

    def stored_index(self) -> LogIndex:
        """What is applied up to here survives without the log."""
        return self._log.stored_index()

    def durable_bytes(self) -> int:
        """What the log takes on disk."""
        return self._log.log_bytes()

    def entry(self, index: LogIndex) -> Entry:
        """The entry at `index`, which must be held."""
        assert self._first <= index <= self._last, (self._first, index, self._last)
        if index == self._first and self._head is not None:
            return self._head
        if index >= self._tail_first:
            return self._tail[index - self._tail_first]
        return self._load(index, 1)[0]

    def batch(self, first: LogIndex, bytes_max: int) -> list[Entry]:
        """Entries from `first` on: at least one, then as many as stay within `bytes_max` of payload, and a count."""
        assert self._first <= first <= self._last, (self._first, first, self._last)
        if first < self._tail_first:  # not beyond the window: what this turn has truncated is still on disk
            held = self._load(first, bytes_max)[: self._tail_first - first]
            return _within(bytes_max, held, 0)
        return _within(bytes_max, self._tail, first - self._tail_first)

    def take(self) -> tuple[LogIndex | None, tuple[Entry, ...], HardState | None]:
        """What became pending since the last take: truncation, entries to append, hard state if it changed.

        The caller commits it before anything that depends on it leaves the node, then calls `committed`.
        """
        append = tuple(self._tail[self._taken_last + 1 - self._tail_first :]) if self._taken_last < self._last else ()
        truncate_from, self._truncate_from = self._truncate_from, None
        self._taken_last = self._last
        changed = self._hard_state != self._durable_hard_state
        return truncate_from, append, self._hard_state if changed else None

    def committed(self, hard_state: HardState | None, compact_to: LogIndex | None = None) -> None:
        """The last take is on disk; old entries may leave memory, and compacted ones the log."""
        self._durable_last = self._taken_last
        if hard_state is not None:
            self._durable_hard_state = hard_state
        if compact_to is not None:
            self._compact(compact_to)
        if self._tail_bytes > CACHE_BYTES_MAX:
            self._evict()

    def _compact(self, index: LogIndex) -> None:
        """`index` becomes the first entry; storage has deleted what was before it."""
        assert self._first < index <= self._hard_state.commit_index, (self._first, index, self._hard_state)
        self._head = self.entry(index)
        if index > self._tail_first:
            dropped = self._tail[: index - self._tail_first]
            del self._tail[: index - self._tail_first]
            self._tail_bytes -= sum(len(entry.payload) for entry in dropped)
            self._tail_first = index
        self._first = index

    def _evict(self) -> None:
        keep, drop = CACHE_BYTES_MAX // 2, 0
        durable = self._hard_state.commit_index
        while self._tail_bytes > keep and drop < len(self._tail) - 1 and self._tail[drop].index < durable:
            self._tail_bytes -= len(self._tail[drop].payload)
            drop += 1
        del self._tail[:drop]
        self._tail_first = LogIndex(self._tail_first + drop)

    def _load(self, first: LogIndex, bytes_max: int) -> list[Entry]:
        entries = self._log.read_entries(first, count_max=LOAD_COUNT_MAX, bytes_max=bytes_max)
        if not entries or entries[0].index != first:
            raise CorruptData(f"log entry {first} is missing")
        return entries

    # What SyncObj calls: pysyncobj.journal.Journal -----------------------------------------------------------------

    def add(self, command: bytes, idx: int, term: int) -> None:
        assert idx == self._last + 1, (idx, self._last)
        entry = Entry(command, LogIndex(idx), Term(term))
        if self._head is None:
            self._head, self._first, self._tail_first = entry, entry.index, entry.index
        self._tail.append(entry)
        self._tail_bytes += len(command)
        self._last = entry.index

    def clear(self) -> None:
        raise InvariantViolated(
            "the engine tried to clear its journal"
        )  # only stock snapshot loading does, which is off

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: ARG002, N802, N803
        raise InvariantViolated("the engine tried to compact its journal")  # only stock compaction does, which is off

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803
        index = LogIndex(self._first + entryFrom)
        # Leader completeness (Ongaro & Ousterhout 2014, 5.4): what is committed is never taken back.
        # The guard refuses an append that would (HistoryReplaced), so this is a bug.
        if index <= self._hard_state.commit_index:
            raise InvariantViolated(f"the engine tried to delete committed entry {index} (commit {self._hard_state})")
        if index > self._last:
            return
        if index < self._tail_first:
            self._tail, self._tail_first, self._tail_bytes = [], index, 0
        else:
            dropped = self._tail[index - self._tail_first :]
            del self._tail[index - self._tail_first :]
            self._tail_bytes -= sum(len(entry.payload) for entry in dropped)
        self._last = LogIndex(index - 1)
        self._durable_last = min(self._durable_last, self._last)
        if index <= self._taken_last:
            self._taken_last = self._last
            self._truncate_from = index if self._truncate_from is None else min(index, self._truncate_from)

    @overload
    def __getitem__(self, item: SupportsIndex) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> Sequence[Entry]: ...
    def __getitem__(self, item: SupportsIndex | slice) -> Entry | Sequence[Entry]:
        if isinstance(item, slice):
            start = LogIndex(self._first + max(0, item.start or 0))
            if item.stop is None:
                return _Span(self, start, LogIndex(self._last + 1))
            stop = min(self._first + item.stop, self._last + 1)
            return [self.entry(LogIndex(index)) for index in range(start, stop)]
        position = int(item)
        return self.entry(LogIndex((self._first if position >= 0 else self._last + 1) + position))

    def __len__(self) -> int:
        return self._last - self._first + 1 if self._head is not None else 0

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        state = self._hard_state
        if raftCommitIndex != state.commit_index:
            assert raftCommitIndex > state.commit_index, "the commit index never moves back"
            self._hard_state = HardState(state.term, state.voted_for, LogIndex(raftCommitIndex))

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        return self._hard_state.commit_index

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803
        state, vote = self._hard_state, NodeId(votedForNodeId) if votedForNodeId is not None else None
        assert term >= state.term, "the term never moves back"
        assert term > state.term or state.voted_for in (None, vote), "one vote a term"
        self._hard_state = HardState(Term(term), vote, state.commit_index)

    def getCurrentTerm(self) -> int:  # noqa: N802
        return self._hard_state.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802
        return self._hard_state.voted_for

    def _destroy(self) -> None:
        """Nothing to close: the environment belongs to storage."""


def _within(bytes_max: int, entries: list[Entry], start: int) -> list[Entry]:
    """Entries from position `start` on: one at least, LOAD_COUNT_MAX at most, more than one only within `bytes_max`."""
    size, stop = len(entries[start].payload), start + 1
    end = min(len(entries), start + LOAD_COUNT_MAX)
    while stop < end and size + len(entries[stop].payload) <= bytes_max:
        size += len(entries[stop].payload)
        stop += 1
    return entries[start:stop]


class _Span(Sequence[Entry]):
    """An open-ended slice that reads entries only when asked: SyncObj looks at its head and its length."""

    def __init__(self, journal: TurnJournal, start: LogIndex, stop: LogIndex) -> None:
        self._journal, self._start, self._stop = journal, start, stop

    def __len__(self) -> int:
        return max(0, self._stop - self._start)

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> Sequence[Entry]: ...
    def __getitem__(self, item: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(item, slice):
            return [self[position] for position in range(*item.indices(len(self)))]
        if item < 0:
            item += len(self)
        if not 0 <= item < len(self):
            raise IndexError(item)
        return self._journal.entry(LogIndex(self._start + item))

    def __iter__(self) -> Iterator[Entry]:
        return (self._journal.entry(LogIndex(index)) for index in range(self._start, self._stop))
