"""What the log is made of, and what one turn of a node makes durable."""

from dataclasses import dataclass, field
from typing import NamedTuple

from replicator.model.ids import LogIndex, NodeId, Term


class Entry(NamedTuple):
    """One log entry. The engine keeps millions of them, hence a tuple; the field order is the engine's."""

    payload: bytes
    index: LogIndex  # type: ignore[assignment]  # hides tuple.index, which nothing here wants
    term: Term


@dataclass(frozen=True, slots=True)
class HardState:
    """What Raft must not forget (Ongaro & Ousterhout 2014, figure 2), and the commit index, which saves a replay."""

    term: Term
    voted_for: NodeId | None
    commit_index: LogIndex


@dataclass(frozen=True, slots=True)
class TurnWrite:
    """Everything that one turn makes durable, in one commit, in this order.

    truncate_from: first index of a conflicting tail to delete, None if there is none.
    append: new entries, contiguous, after the truncation point.
    hard_state: None if unchanged.
    apply: newly committed entries, contiguous from the store's applied index + 1.
    """

    truncate_from: LogIndex | None = None
    append: tuple[Entry, ...] = ()
    hard_state: HardState | None = None
    apply: tuple[Entry, ...] = field(default=())

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to commit."""
        return self.truncate_from is None and not self.append and self.hard_state is None and not self.apply
