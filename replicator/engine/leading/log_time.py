"""Which log time a leader writes next: that of the newest entry in its own log, continued from when it got that entry.

Every node notes when the entries arrive in its log, so that a new leader counts the time since then by its own
monotonic clock. An entry arrives after it was written, so the new leader is never ahead, only late by the way of the
entry, or by how long its process was down. Invariant: from one entry to the next in any log, log time moves by no more
than core/log_clock.py allows for the real time between their writing. What a truncation takes out of the log takes its
reading with it, or the invariant would not hold for the entries that replace it.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from replicator.core.log_clock import Reading, continued, first_reading
from replicator.engine.core import ReplicaCore
from replicator.engine.stock.journal import LogReader
from replicator.machine.codec import entry_time_ms
from replicator.model.ids import LogIndex, Term
from replicator.model.limits import LOG_TIME_MS_MAX


class Stamp(NamedTuple):
    """What an entry says of its time, milliseconds: log time, and the calendar of the node that wrote it."""

    time_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True)
class _Noted:
    """What was known of log time when the log ended here. term: None for what the store holds, which is committed."""

    index: LogIndex
    term: Term | None
    reading: Reading


class LogTime:
    """One node's view of log time. Leaders stamp by it; followers only look."""

    def __init__(self, core: ReplicaCore, log: LogReader) -> None:
        self._journal, self._clock = core.journal, core.clock
        applied_index, clock = core.journal.applied_index, core.clock
        # Ascending. The first one is committed; the others may still be truncated.
        self._noted = deque([_Noted(applied_index, None, Reading(float(log.log_time_ms()), clock.monotonic_s()))])
        self.look()

    def look(self) -> None:
        """Notes what has arrived in the log since the last look, and forgets what has left it. Once a turn."""
        noted, journal = self._noted, self._journal
        while len(noted) > 1 and not self._is_in_log(noted[-1]):
            noted.pop()  # before others take its place: one turn can bring what replaces it, and commit that
        while len(noted) > 1 and noted[1].index <= journal.hard_state.commit_index:
            noted.popleft()
        if journal.last_index > noted[-1].index:
            newest = journal.entry(journal.last_index)
            noted.append(_Noted(newest.index, newest.term, self._reading_since(noted[-1])))

    def stamp(self, term: Term) -> Stamp:
        """For the entry that this leader appends next, at once."""
        self.look()
        wall_ms = self._clock.wall_ms()
        reading = self._reading_now(wall_ms)
        self._noted.append(_Noted(LogIndex(self._journal.last_index + 1), term, reading))
        return Stamp(int(reading.time_ms), min(max(0, wall_ms), LOG_TIME_MS_MAX))

    def now_ms(self) -> int:
        """What this node would stamp now. A follower may be late, by as much as it lags."""
        return int(self._reading_now(self._clock.wall_ms()).time_ms)

    def _reading_now(self, wall_ms: int) -> Reading:
        last, now_s = self._noted[-1].reading, self._clock.monotonic_s()
        if last.time_ms:
            return continued(last, wall_ms=wall_ms, now_s=now_s)
        return first_reading(wall_ms=wall_ms, now_s=now_s)

    def _reading_since(self, before: _Noted) -> Reading:
        """Of the newest entry that carries a time; that of `before` if none has arrived after it."""
        for place in range(self._journal.last_index, before.index, -1):
            time_ms = entry_time_ms(self._journal.entry(LogIndex(place)).payload)
            if time_ms is not None:
                return Reading(max(float(time_ms), before.reading.time_ms), self._clock.monotonic_s())
        return before.reading

    def _is_in_log(self, noted: _Noted) -> bool:
        journal = self._journal
        return noted.index <= journal.last_index and journal.entry(noted.index).term == noted.term
