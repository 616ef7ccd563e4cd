"""Writes a layer to LMDB: whole lists in key order, in as few calls as there are databases."""

from collections.abc import Iterable
from typing import Final

from replicator.model.ids import LogIndex
from replicator.storage.layout import HEADER_KEY, Database, Databases, Transaction, pack_number, unpack_number
from replicator.storage.state.applied_entry import put_applied
from replicator.storage.state.compacting import COMPACT_CHANGES_MAX, compact_step
from replicator.storage.state.layers import Layer

COMPACT_DIGESTS_MAX: Final = 8192  # deleted in one flush, beyond as many as it brings


def flush(txn: Transaction, databases: Databases, layer: Layer) -> None:
    """Uncommitted. Writing the same layer twice is writing it once, but for the order of digests and changes."""
    _append(txn, databases.digests, layer.digests)
    _append(txn, databases.changes, layer.changes)
    _put(txn, databases.index, sorted(layer.index.items()))
    _put(txn, databases.superseded, sorted(layer.superseded))
    _change(txn, databases.sessions, sorted(layer.sessions.items()))
    _change(txn, databases.results, layer.results.in_order())
    _change(txn, databases.idle, layer.idle.in_order())
    _put(txn, databases.meta, [*layer.meta.items(), (HEADER_KEY, layer.header.pack())])
    if layer.last_entry is not None:
        assert layer.last_entry.index == layer.header.applied_index
        put_applied(txn, databases, layer.last_entry)


def delete_unneeded(txn: Transaction, databases: Databases, layer: Layer, first_index: LogIndex) -> bool:
    """What no read asks for any more, some of it: old changes, and digests of entries before the log's first one.

    As much as the layer brings, and a step more, so that it gets on. True if more is left to do.
    """
    _delete_digests(txn, databases, first_index, layer.entry_count + COMPACT_DIGESTS_MAX)
    for _ in range(len(layer.changes) // COMPACT_CHANGES_MAX + 1):
        if not compact_step(txn, databases, layer.header.compacted_revision):
            return False
    return True


def keep_only_digest_of(txn: Transaction, databases: Databases, index: LogIndex) -> None:
    """All others go: the log begins anew with the entry at `index`."""
    digest = txn.get(pack_number(index), db=databases.digests)
    assert digest is not None, f"no digest at {index}"
    txn.drop(databases.digests, delete=False)
    txn.put(pack_number(index), digest, db=databases.digests)


def _delete_digests(txn: Transaction, databases: Databases, first_index: LogIndex, count_max: int) -> None:
    """That of the entry applied last stays, whatever the log holds."""
    with txn.cursor(db=databases.digests) as cursor:
        found, left = cursor.first(), count_max
        while found and left and unpack_number(cursor.key()) < first_index:
            found, left = cursor.delete() and bool(cursor.key()), left - 1


def _append(txn: Transaction, database: Database, ascending: dict[bytes, bytes]) -> None:
    if ascending:
        with txn.cursor(db=database) as cursor:
            _, added = cursor.putmulti(list(ascending.items()), append=True)
        assert added == len(ascending), "not after what is held"


def _put(txn: Transaction, database: Database, items: list[tuple[bytes, bytes]]) -> None:
    if len(items) == 1:
        txn.put(*items[0], db=database)
    elif items:
        with txn.cursor(db=database) as cursor:
            cursor.putmulti(items)


def _change(txn: Transaction, database: Database, items: Iterable[tuple[bytes, bytes | None]]) -> None:
    """A value of None deletes."""
    items = list(items)
    _put(txn, database, [(key, value) for key, value in items if value is not None])
    for key, value in items:
        if value is None:
            txn.delete(key, db=database)
