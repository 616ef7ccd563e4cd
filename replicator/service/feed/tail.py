"""The newest changes in memory, bounded: what those who have caught up read, decoded once for all of them."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from replicator.model.changes import StoredChange
from replicator.model.ids import LogIndex, Revision

TAIL_CHANGES_MAX: Final = 8192
TAIL_BYTES_MAX: Final = 16 << 20  # of keys and values; what the API makes of them comes on top, in a few forms at most

Take: TypeAlias = Callable[[StoredChange], StoredChange | None]


class Tail:
    """Whole revisions `first` to `last`; none if first is last + 1. applied_index: at it, the store held all of them.

    Invariant: a revision between `first` and `last` is held, with all of its changes. So who reads from within has no
    gap, and who stands before `first` reads from the store.
    """

    def __init__(self, last: Revision, applied_index: LogIndex) -> None:
        self.first, self.last, self.applied_index = Revision(last + 1), last, applied_index
        self._changes: dict[Revision, Sequence[StoredChange]] = {}
        self._count = self.size_bytes = 0

    def __len__(self) -> int:
        """Changes held."""
        return self._count

    def add(self, whole: Sequence[StoredChange], applied_index: LogIndex) -> None:
        """All changes of the next revision. The oldest go, if there is no room; a revision that is too large, too."""
        revision = whole[0].revision
        assert revision == self.last + 1, (revision, self.last)
        self._changes[revision] = whole
        self._count += len(whole)
        self.size_bytes += _size_bytes(whole)
        self.last, self.applied_index = revision, applied_index
        while self._count > TAIL_CHANGES_MAX or self.size_bytes > TAIL_BYTES_MAX:
            self._drop_first()

    def holds(self, revision: int) -> bool:
        return self.first <= revision <= self.last

    def read(
        self, following: tuple[int, int], take: Take, bytes_max: int
    ) -> tuple[list[StoredChange], tuple[int, int]]:
        """Wanted changes from `following` on, and where to go on: whole revisions, until they hold bytes_max.

        A revision that holds more by itself comes in parts: the place to go on is then within it. take: the change as
        it is to be shown, or None.
        """
        main, position = following
        assert self.holds(main), (main, self.first, self.last)
        found: list[StoredChange] = []
        size_bytes = 0
        for number in range(main, self.last + 1):
            begin = len(found)
            for change in self._changes[Revision(number)]:
                shown = take(change) if change.position >= position else None
                if shown is None:
                    continue
                if size_bytes + shown.size_bytes > bytes_max and found:
                    if begin:
                        del found[begin:]
                        return found, (number, position)
                    return found, (number, shown.position)
                found.append(shown)
                size_bytes += shown.size_bytes
            position = 0
        return found, (self.last + 1, 0)

    def _drop_first(self) -> None:
        whole = self._changes.pop(self.first)
        self._count -= len(whole)
        self.size_bytes -= _size_bytes(whole)
        self.first = Revision(self.first + 1)


def _size_bytes(whole: Sequence[StoredChange]) -> int:
    """Without previous pairs, of which the tail keeps small ones only."""
    return sum(len(change.key) + len(change.value) for change in whole)
