"""When a turn's write must be on disk before anything else happens, and when it may wait for a later turn's.

What must be durable at once: entries, truncations, the term and the vote (Ongaro & Ousterhout 2014, figure 2), and a
change of the group, by which later turns count majorities. The commit index may wait, for a bounded time: it goes with
the next write that must be durable, or alone when it has waited for STATE_DELAY_S_MAX. The rest of the applied state is
no concern of a commit: the store flushes it, and a restart finds it again from the log.
"""

from typing import Final

from replicator.engine.core import ReplicaCore
from replicator.machine.codec import is_group_change
from replicator.model.log import HardState, TurnWrite

STATE_DELAY_S_MAX: Final = 0.05


class WriteBehind:
    """One replica's."""

    def __init__(self, core: ReplicaCore) -> None:
        self._clock, self._journal = core.clock, core.journal
        self._waits_since_s: float | None = None  # of the oldest move of the commit index that no commit has taken
        self._is_hurried = False

    def must_commit(self, write: TurnWrite) -> bool:
        """To be asked once a turn. False: nothing of `write` need be durable now."""
        now_s = self._clock.monotonic_s()
        if self._waits_since_s is None and write.hard_state is not None:
            self._waits_since_s = now_s
        must = self._claims(write) or now_s >= self.due_s()
        if must:
            self._waits_since_s = None
        self._is_hurried = False
        return must

    @property
    def waits(self) -> bool:
        """Has the commit index moved since a commit took it?"""
        return self._waits_since_s is not None

    def hurry(self) -> None:
        """The next turn commits, if the commit index has moved since the last commit."""
        self._is_hurried = True

    def due_s(self) -> float:
        """When a turn must commit what has waited, by the monotonic clock; infinite if nothing waits."""
        if self._waits_since_s is None:
            return float("inf")
        return self._waits_since_s + (0.0 if self._is_hurried else STATE_DELAY_S_MAX)

    def _claims(self, write: TurnWrite) -> bool:
        """Does anything that leaves this node rely on it?"""
        if write.append or write.truncate_from is not None or write.compact_to is not None:
            return True
        if any(is_group_change(entry.payload) for entry in write.apply):
            return True  # later turns count majorities by it, and must not forget it
        return write.hard_state is not None and _vote(write.hard_state) != _vote(self._journal.durable_hard_state)


def _vote(state: HardState) -> tuple[int, str | None]:
    return state.term, state.voted_for
