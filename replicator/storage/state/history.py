"""Changes in the order of their revisions: those applied last from memory, history in pages from the data file.

`changes` is ordered by revision, so a page is one walk. Main revisions follow each other without a gap, and the changes
of one are numbered from 0 without a gap, until history is compacted; beyond the compacted revision nothing is missing,
and of that revision itself nothing is, either (state/compacting.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

from replicator.machine.store_port import DELETED
from replicator.model.changes import StoredChange, forgotten
from replicator.model.errors import CorruptData
from replicator.model.ids import LogIndex, Revision
from replicator.model.values import KeyValue
from replicator.storage.layout import Databases, Header, Transaction
from replicator.storage.state.layers import Layer
from replicator.storage.state.records import pack_revision, unpack_change, unpack_revision


@dataclass(frozen=True, slots=True)
class ChangesRequest:
    """first: main revision and position of the first change to look at. wants: of a key, and whether it is a delete.

    A page ends after examined_max changes, wanted or not, or once it holds bytes_max of keys and values.
    """

    first: tuple[int, int]
    wants: Callable[[bytes, bool], bool]
    with_previous: bool
    examined_max: int
    bytes_max: int


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """following: where the next page begins; its position is not 0 if the page ends within a revision.

    revision: up to which the page or those before it are whole. stored_revision, applied_index: of what was read from.
    """

    changes: tuple[StoredChange, ...]
    following: tuple[int, int]
    stored_revision: Revision
    applied_index: LogIndex

    @property
    def revision(self) -> Revision:
        return Revision(self.following[0] - 1)


@dataclass(frozen=True, slots=True)
class RecentChanges:
    """Whole revisions, in order, up to `revision`. applied_index: at it, the store held all of them."""

    changes: tuple[tuple[StoredChange, ...], ...]
    revision: Revision
    applied_index: LogIndex


def recent(layers: tuple[Layer, ...], first: Revision, count_max: int) -> RecentChanges | None:
    """Revisions from `first` on, until they hold count_max changes. None if memory does not reach back so far.

    layers: newest first, and nobody applies into them meanwhile.
    """
    header = layers[0].header
    found: list[tuple[StoredChange, ...]] = []
    count, revision = 0, first
    while revision <= header.revision and count < count_max:
        layer = next((layer for layer in layers if pack_revision(revision, 0) in layer.changes), None)
        if layer is None:
            return None
        whole: list[StoredChange] = []
        while (data := layer.changes.get(number := pack_revision(revision, len(whole)))) is not None:
            whole.append(stored_change(number, data))
        found.append(tuple(whole))
        count += len(whole)
        revision = Revision(revision + 1)
    return RecentChanges(tuple(found), Revision(revision - 1), header.applied_index)


def page(txn: Transaction, databases: Databases, wanted: ChangesRequest) -> ChangesPage:
    """What the data file holds from `wanted.first` on. Raises Compacted, CorruptData.

    A revision is begun only if it is the first of the page, or fits as a whole.
    """
    header = Header.load(txn, databases)
    if wanted.first[0] < header.compacted_revision:
        raise forgotten(wanted.first[0], header.compacted_revision)
    kept: list[StoredChange] = []
    whole = 0  # of `kept`, belong to revisions that the page has looked at up to their end
    main, following = wanted.first
    size_bytes = 0
    with txn.cursor(db=databases.changes) as cursor:
        found = cursor.set_range(pack_revision(*wanted.first))
        for examined in range(wanted.examined_max + 1):
            at = unpack_revision(cursor.key()) if found else (header.revision + 1, 0)
            if at[0] > main:
                _check_follows(main, following, at)
                whole, main, following = len(kept), at[0], 0
            elif at[1] != following:
                raise CorruptData(f"after change {main}.{following - 1} comes {at[0]}.{at[1]}")
            if not found or examined == wanted.examined_max or size_bytes >= wanted.bytes_max:
                break
            change = stored_change(cursor.key(), cursor.value())
            following = at[1] + 1
            if wanted.wants(change.key, change.is_delete):
                if wanted.with_previous:
                    change.previous = previous_pair(txn, databases, change, header.compacted_revision)
                    change.has_previous = True
                kept.append(change)
                size_bytes += change.size_bytes
            found = cursor.next()
    if main > wanted.first[0] and following:
        del kept[whole:]
        following = 0
    return ChangesPage(tuple(kept), (main, following), header.revision, header.applied_index)


def _check_follows(main: int, following: int, at: tuple[int, int]) -> None:
    """`at` begins the next revision, after at least one change of `main`, or after a page that ended with it."""
    if at[1] != 0 or at[0] != main + 1 or following == 0:
        raise CorruptData(f"after change {main}.{following - 1} comes {at[0]}.{at[1]}")


def stored_change(number: bytes, data: bytes) -> StoredChange:
    """Of a packed revision. Raises CorruptData."""
    main, sub = unpack_revision(number)
    change = unpack_change(number, data)
    return StoredChange(
        Revision(main), sub, change.key, change.value, change.create_revision, change.version, change.time_ms,
        bool(change.flags & DELETED), change.superseded,
    )  # fmt: skip


def previous_pair(
    txn: Transaction,
    databases: Databases,
    change: StoredChange,
    compacted_revision: Revision,
    layers: tuple[Layer, ...] = (),
) -> KeyValue | None:
    """What the key held before the change. Of a change at or before the compacted revision that is not told: None.

    A node deletes compacted history when it gets to it, and what it tells must not depend on that.
    """
    if change.superseded == (0, 0) or change.revision <= compacted_revision:
        return None
    number = pack_revision(*change.superseded)
    data = next((layer.changes[number] for layer in layers if number in layer.changes), None)
    data = data or txn.get(number, db=databases.changes)
    if data is None:
        return None  # a deletion that was compacted
    before = unpack_change(number, data)
    if before.key != change.key:
        raise CorruptData(f"revision {change.revision} supersedes {change.superseded[0]}, which is of another key")
    if before.flags & DELETED:
        return None
    return KeyValue(change.key, before.value, before.create_revision, change.superseded[0], before.version)
