"""What the log holds after all turns so far: hard state, first and last entry, and where each entry is."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from replicator.model.errors import CorruptData
from replicator.model.ids import LogIndex, Term
from replicator.model.log import HardState
from replicator.storage.log.turn_format import INITIAL_HARD_STATE, RECORD_HEAD_BYTES, Kind, Record, unpack_hard_state

_FIRST: Final = LogIndex(1)
_NONE: Final = LogIndex(0)


class Place(NamedTuple):
    """Of one entry. segment: its number. at: where the payload begins."""

    segment: int
    at: int
    size_bytes: int
    term: Term
    checksum: int


@dataclass(slots=True)
class Contents:
    """`places` ends with that of last_index; it may begin before first_index, until `forget_compacted`.

    size_bytes: of the entries that have a place, with the head of each.
    """

    hard_state: HardState = INITIAL_HARD_STATE
    first_index: LogIndex = _FIRST
    last_index: LogIndex = _NONE
    places: list[Place] = field(default_factory=list)
    size_bytes: int = 0

    @property
    def first_placed(self) -> int:
        """Index of the first entry that has a place."""
        return self.last_index - len(self.places) + 1

    @property
    def is_empty(self) -> bool:
        """No entry is held."""
        return self.last_index < self.first_index

    def place_of(self, index: LogIndex) -> Place | None:
        """None if the entry is not held: not yet, or no longer."""
        if not max(self.first_index, self.first_placed) <= index <= self.last_index:
            return None
        return self.places[index - self.first_placed]

    def take(self, record: Record, segment: int) -> None:
        """The next record of the log. Raises CorruptData if it does not follow."""
        match record.kind:
            case Kind.ENTRY:
                if record.index != self.last_index + 1:
                    raise CorruptData(f"log: entry {record.index} follows entry {self.last_index}")
                self.append(Place(segment, record.at, len(record.payload), record.term, record.checksum))
            case Kind.HARD_STATE:
                self.hard_state = unpack_hard_state(record.payload)
            case Kind.TRUNCATE_FROM:
                self.truncate_from(record.index)
            case Kind.COMPACT_TO:
                self.first_index = max(self.first_index, record.index)

    def append(self, place: Place) -> None:
        self.places.append(place)
        self.last_index = LogIndex(self.last_index + 1)
        self.size_bytes += place.size_bytes + RECORD_HEAD_BYTES

    def truncate_from(self, index: LogIndex) -> None:
        """The entries at and after `index` are gone."""
        if index <= self.last_index:
            self._delete(slice(max(0, index - self.first_placed), None))
            self.last_index = LogIndex(index - 1)

    def forget_compacted(self) -> None:
        """Places of entries before first_index are of no use."""
        surplus = self.first_index - self.first_placed
        if surplus > 0:
            self._delete(slice(0, surplus))

    def _delete(self, which: slice) -> None:
        self.size_bytes -= sum(place.size_bytes + RECORD_HEAD_BYTES for place in self.places[which])
        del self.places[which]
