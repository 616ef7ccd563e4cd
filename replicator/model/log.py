"""What the log is made of, and what one turn of a node makes durable."""

from dataclasses import dataclass, field
from typing import NamedTuple

from replicator.model.ids import LogIndex, NodeId, Term


class Entry(NamedTuple):
    """One log entry. The engine keeps millions of them, hence a tuple; the field order is the engine's."""

    payload: bytes
    index: LogIndex  # type: ignore[assignment]  # hides tuple.index, which nothing here wants
    term: Term

    def __repr__(self) -> str:
        """Without the payload, which may hold a caller's value or the group's secret."""
        return f"Entry(index={self.index}, term={self.term}, {len(self.payload)} bytes)"


@dataclass(frozen=True, slots=True)
class HardState:
    """What Raft must not forget (Ongaro & Ousterhout 2014, figure 2), and the commit index, which saves a replay."""

    term: Term
    voted_for: NodeId | None
    commit_index: LogIndex


@dataclass(frozen=True, slots=True)
class TurnWrite:
    """Everything that one turn makes durable, in one commit, in this order (compaction last).

    truncate_from: first index of a conflicting tail to delete, None if there is none.
    append: new entries, contiguous, after the truncation point.
    hard_state: None if unchanged.
    apply: newly committed entries, contiguous. Those that were applied in memory before need not be named; what comes
    after them is applied in the commit.
    compact_to: entries before this index are no longer needed; the entry itself stays, as what later ones follow.
    """

    truncate_from: LogIndex | None = None
    append: tuple[Entry, ...] = ()
    hard_state: HardState | None = None
    apply: tuple[Entry, ...] = field(default=())
    compact_to: LogIndex | None = None


@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    """Names one snapshot file: the whole store at `index`, and how to tell that all of it arrived unchanged.

    term: of the entry at `index`. size_bytes, digest (blake2b, 32 bytes): of the file.
    """

    snapshot_id: str
    cluster_id: str
    index: LogIndex
    term: Term
    rolling_hash: bytes
    size_bytes: int
    digest: bytes
