"""How old may the state of this replica be? Answered without comparing two machines' clocks.

Exists because reads report a staleness bound and BOUNDED reads rely on it.
Knows: "everything acknowledged before `as_of_s` is covered by `commit_index`", and how far this replica has applied.
Must not know: messages, the engine, wall clocks. Times are this node's monotonic seconds.
"""

from collections import deque
from typing import Final

from replicator.model.ids import LogIndex

PENDING_MAX: Final = 1024


class Freshness:
    """A bound on staleness from (commit index, as-of time) statements of a confirmed leader.

    A follower stamps its replies with its clock; the leader's next append echoes the stamp together with its commit
    index and the age of its last quorum contact. Whatever was committed by `echo - age` is then covered by that index,
    because the append was sent after the stamp, and no other leader can have committed anything before that contact.
    """

    def __init__(self, applied_index: LogIndex) -> None:
        self._applied = applied_index
        self._fresh_as_of_s: float | None = None
        self._pending: deque[tuple[LogIndex, float]] = deque(maxlen=PENDING_MAX)

    def covers(self, commit_index: LogIndex, as_of_s: float) -> None:
        """A leader says: all that was acknowledged before `as_of_s` lies at or below `commit_index`."""
        if commit_index <= self._applied:
            self._advance(as_of_s)
            return
        if self._pending and self._pending[-1][0] >= commit_index:
            if self._pending[-1][1] >= as_of_s:
                return
            if self._pending[-1][0] == commit_index:
                self._pending.pop()
        self._pending.append((commit_index, as_of_s))

    def applied(self, index: LogIndex) -> None:
        """The replica has durably applied up to `index`."""
        self._applied = index
        while self._pending and self._pending[0][0] <= index:
            self._advance(self._pending.popleft()[1])

    def staleness_s(self, now_s: float) -> float | None:
        """Upper bound of the age of the applied state; None as long as nothing is known."""
        return None if self._fresh_as_of_s is None else max(0.0, now_s - self._fresh_as_of_s)

    def _advance(self, as_of_s: float) -> None:
        if self._fresh_as_of_s is None or as_of_s > self._fresh_as_of_s:
            self._fresh_as_of_s = as_of_s
