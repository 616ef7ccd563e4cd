"""What is applied in memory and not yet on disk: layers over the data file.

A read looks into the newest layer, then the one below, then LMDB. Entries are applied into the open layer. A flush
freezes it, writes what is frozen, and drops that once it is durable; meanwhile a new open layer takes what comes. If a
flush fails, the frozen layer stays as it is. A layer is bounded by who applies (`Storage.apply`).
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Protocol

from replicator.model.log import Entry
from replicator.storage.layout import Cursor, Header

INSERTED_SINGLY_MAX: Final = 16  # keys; more of them are sorted with all others


class OrderedChanges:
    """Values by key, None for a deletion; can be walked in key order."""

    __slots__ = ("_order", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes | None] = {}
        self._order: list[bytes] = []

    def put(self, key: bytes, value: bytes | None) -> None:
        """value: None to delete."""
        if key not in self.values:
            insort(self._order, key)
        self.values[key] = value

    def from_key(self, low: bytes) -> Iterator[tuple[bytes, bytes | None]]:
        """From the first key at or after `low` on, in key order. Not to be changed meanwhile."""
        for place in range(bisect_left(self._order, low), len(self._order)):
            yield self._order[place], self.values[self._order[place]]

    def in_order(self) -> list[tuple[bytes, bytes | None]]:
        """All of them."""
        return [(key, self.values[key]) for key in self._order]


class OrderedIndex:
    """A dict that only grows, to be walked in key order. Sorted when it is walked: most writes never pay for it."""

    __slots__ = ("_order", "values")

    def __init__(self, values: dict[bytes, bytes]) -> None:
        self.values = values
        self._order: list[bytes] = []

    def from_key(self, low: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As OrderedChanges."""
        newest = list(islice(reversed(self.values), len(self.values) - len(self._order)))
        if len(newest) <= INSERTED_SINGLY_MAX:
            for key in newest:
                insort(self._order, key)
        else:
            self._order += newest
            self._order.sort()
        for place in range(bisect_left(self._order, low), len(self._order)):
            yield self._order[place], self.values[self._order[place]]


class Walkable(Protocol):
    """A part of what `from_key` walks."""

    @property
    def values(self) -> Mapping[bytes, bytes | None]: ...

    def from_key(self, low: bytes) -> Iterator[tuple[bytes, bytes | None]]: ...


@dataclass(slots=True)
class Layer:
    """Changes of the state, by database. header: watermarks after them.

    entry_count, last_entry: of what made them; size_bytes: of that and of the outcomes that it left to be remembered.

    changes: by packed revision, ascending. ordered_index: of `index`, for the applying thread only. superseded: items
    to add. results, idle, sessions: None deletes. oldest_ms:
    no client was last used before; it never moves back, as log time does not.
    """

    header: Header
    oldest_ms: int = 0
    entry_count: int = 0
    size_bytes: int = 0
    last_entry: Entry | None = None
    index: dict[bytes, bytes] = field(default_factory=dict)
    changes: dict[bytes, bytes] = field(default_factory=dict)
    superseded: list[tuple[bytes, bytes]] = field(default_factory=list)
    sessions: dict[bytes, bytes | None] = field(default_factory=dict)
    results: OrderedChanges = field(default_factory=OrderedChanges)
    idle: OrderedChanges = field(default_factory=OrderedChanges)
    digests: dict[bytes, bytes] = field(default_factory=dict)
    meta: dict[bytes, bytes] = field(default_factory=dict)
    ordered_index: OrderedIndex = field(init=False)

    def __post_init__(self) -> None:
        self.ordered_index = OrderedIndex(self.index)

    def next(self) -> "Layer":
        """An empty one that goes on from here."""
        return Layer(self.header, self.oldest_ms)

    def note(self, entry: Entry) -> None:
        """It was applied into this layer."""
        self.entry_count += 1
        self.size_bytes += len(entry.payload)
        self.last_entry = entry


class Layers:
    """The open layer and the frozen one. `open` is for who applies; `newest_first` for who reads, from any thread."""

    __slots__ = ("_frozen", "newest_first", "open")

    def __init__(self, first: Layer) -> None:
        self.open = first
        self._frozen: Layer | None = None
        self.newest_first: tuple[Layer, ...] = (self.open,)

    @property
    def older(self) -> tuple[Layer, ...]:
        """What lies between the open layer and the data file."""
        return self.newest_first[1:]

    @property
    def frozen(self) -> Layer | None:
        """What is being written."""
        return self._frozen

    @property
    def entry_count(self) -> int:
        """Entries that are applied in memory only."""
        return sum(layer.entry_count for layer in self.newest_first)

    @property
    def size_bytes(self) -> int:
        """Bytes of their payloads, and of the outcomes that they left to be remembered."""
        return sum(layer.size_bytes for layer in self.newest_first)

    @property
    def change_count(self) -> int:
        """Changes of keys that they made."""
        return sum(len(layer.changes) for layer in self.newest_first)

    def freeze(self) -> None:
        """What is applied so far is to be written. It stays visible until `drop_frozen`."""
        assert self._frozen is None, "one layer is written at a time"
        self._frozen, self.open = self.open, self.open.next()
        self.newest_first = (self.open, self._frozen)

    def drop_frozen(self) -> None:
        """It is durable: the data file says the same."""
        self._frozen = None
        self.newest_first = (self.open,)


def from_key(layers: tuple[Walkable, ...], cursor: Cursor, low: bytes) -> Iterator[tuple[bytes, bytes]]:
    """What layers (newest first) and one database hold together, from `low` on, in key order; nothing deleted."""
    found = cursor.set_range(low) if low else cursor.first()
    if not any(changes.values for changes in layers):
        while found:
            yield cursor.item()
            found = cursor.next()
        return
    pending = [changes.from_key(low) for changes in layers]
    heads = [next(each, None) for each in pending]
    while True:
        keys = [head[0] for head in heads if head is not None]
        if found:
            keys.append(cursor.key())
        if not keys:
            return
        key = min(keys)
        value: bytes | None = None
        is_known = False
        for place, head in enumerate(heads):
            if head is not None and head[0] == key:
                if not is_known:
                    value, is_known = head[1], True
                heads[place] = next(pending[place], None)
        if found and cursor.key() == key:
            value = value if is_known else cursor.value()
            found = cursor.next()
        if value is not None:
            yield key, value
