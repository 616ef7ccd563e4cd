"""Log time runs at about the rate of time, under any leader and any calendars, and never back.

From one entry to the next: by at most RATE_MAX times the time between their writing. Between entries of one leader: by
at least RATE_MIN times. So what is idle for T of real time under one leader is known to have been idle for at least
RATE_MIN * T, and a client is forgotten within SESSION_IDLE / RATE_MIN of it. A new leader may lose time, see
engine/leading/log_time.py, and gain none. Holds over any two entries, so errors must not add up.
"""

from dataclasses import dataclass

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records
from chaos.simulation.promises.violation import broken
from replicator.engine.events import Turn
from replicator.machine.codec import entry_time_ms
from replicator.model.log import Entry

RATE_MIN, RATE_MAX = 0.9, 1.1
DRIFT_MAX = 500e-6  # of the monotonic clocks that it is counted by
ROUNDING_MS = 1.01  # log time is in whole milliseconds, rounded down


@dataclass(frozen=True, slots=True)
class _Written:
    index: int
    term: int
    log_ms: int
    at_ms: float  # virtual


class LogTime(Promise):
    """Notes when entries are written, and judges them in the order of the log, when they are first applied."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._written_at_ms: dict[tuple[int, int], float] = {}  # by index and term
        self._judged = 0
        self._first_of_log: _Written | None = None
        self._first_of_term: _Written | None = None
        self._last: _Written | None = None

    def decided(self, node: SimNode, turn: Turn) -> None:
        for entry in turn.write.append:
            self._written_at_ms.setdefault((entry.index, entry.term), node.timeline.now_s * 1000)

    def applied(self, node: SimNode, turn: Turn) -> None:
        for entry in turn.write.apply:
            if entry.index > self._judged:
                self._judged = entry.index
                self._judge(node, entry)

    def _judge(self, node: SimNode, entry: Entry) -> None:
        log_ms = entry_time_ms(entry.payload)
        if log_ms is None:
            return
        at_ms = self._written_at_ms[entry.index, entry.term]
        new = _Written(entry.index, entry.term, log_ms, at_ms)
        self._first_of_log = self._first_of_log or new
        if self._first_of_term is None or self._first_of_term.term != new.term:
            self._first_of_term = new
        for before in (self._last, self._first_of_log):
            if before is not None and new.log_ms - before.log_ms > _most_ms(before, new):
                raise broken(node, f"applies a leap of log time, {_course(before, new)}")
        if self._last is not None and new.log_ms < self._last.log_ms:
            raise broken(node, f"applies log time that goes back, {_course(self._last, new)}")
        if new.log_ms - self._first_of_term.log_ms < _least_ms(self._first_of_term, new):
            raise broken(node, f"applies log time that lags, {_course(self._first_of_term, new)}")
        self._last = new


def _most_ms(before: _Written, new: _Written) -> float:
    return RATE_MAX * (1.0 + DRIFT_MAX) * (new.at_ms - before.at_ms) + ROUNDING_MS


def _least_ms(before: _Written, new: _Written) -> float:
    return RATE_MIN * (1.0 - DRIFT_MAX) * (new.at_ms - before.at_ms) - ROUNDING_MS


def _course(before: _Written, new: _Written) -> str:
    moved_ms, elapsed_ms = new.log_ms - before.log_ms, new.at_ms - before.at_ms
    return f"{moved_ms} ms within {elapsed_ms:.3f} ms, from entry {before.index} to {new.index} of term {new.term}"
