"""What a node's disk holds of the log, as terms by index: asked very often, so kept beside the real one.

Written only where the real storage has committed; whenever a process starts, the two are compared.
"""

from dataclasses import dataclass, field

from replicator.model.log import HardState, SnapshotManifest, TurnWrite
from replicator.storage.log.turn_format import INITIAL_HARD_STATE
from replicator.storage.reading import Position
from replicator.storage.storage import Storage


@dataclass(slots=True)
class DiskRecord:
    """Survives crashes, as the disk does. `terms` begins at first_index. position: of the state; None: of a new one."""

    state: HardState = INITIAL_HARD_STATE
    first_index: int = 1
    terms: list[int] = field(default_factory=list)
    position: Position | None = None

    @property
    def last_index(self) -> int:
        """0 if the log is empty."""
        return self.first_index + len(self.terms) - 1

    def term_at(self, index: int) -> int | None:
        """None if the entry is not held: not yet, or no longer."""
        return self.terms[index - self.first_index] if self.first_index <= index <= self.last_index else None

    def holds(self, index: int, term: int) -> bool:
        """Compacted entries count as held: they were committed."""
        return index < self.first_index or self.term_at(index) == term

    def flushed(self, position: Position) -> None:
        """The state is durable up to there."""
        self.position = position

    def committed(self, write: TurnWrite) -> None:
        """The log has made this durable."""
        if write.truncate_from is not None:
            del self.terms[write.truncate_from - self.first_index :]
        self.terms.extend(entry.term for entry in write.append)
        if write.hard_state is not None:
            self.state = write.hard_state
        if write.compact_to is not None and write.compact_to > self.first_index:
            del self.terms[: write.compact_to - self.first_index]
            self.first_index = write.compact_to

    def replaced(self, manifest: SnapshotManifest, position: Position) -> None:
        """A snapshot has taken the place of everything but term and vote. position: of its state."""
        self.state = HardState(self.state.term, self.state.voted_for, manifest.index)
        self.first_index, self.terms, self.position = manifest.index, [manifest.term], position

    def differs_from(self, storage: Storage) -> str:
        """What the storage holds that is not what was made durable; empty if there is no such thing."""
        bounds, state, problems = storage.load_log(), storage.hard_state(), []
        if state != self.state:
            problems.append(f"{state}, made durable was {self.state}")
        wanted = (self.first_index, self.last_index, self.terms[-1]) if self.terms else (0, 0, 0)
        held = (bounds.first_index, bounds.last_index, bounds.last_term)
        if held != wanted:
            problems.append(f"a log of (first, last, last term) {held}, made durable was {wanted}")
        if self.position is not None and storage.position != self.position:
            problems.append(f"{storage.position}, made durable was {self.position}")
        if storage.position.applied_index > state.commit_index:
            problems.append(f"a state of {storage.position}, ahead of its log: {state}")
        return "; ".join(problems)
