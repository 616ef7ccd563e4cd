"""Reads of the store: one key of what is applied; pages at any revision, and all live pairs, of the last commit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Final

from replicator.machine.digest import Pair
from replicator.machine.store_port import DELETED, Record
from replicator.model.errors import Compacted, CorruptData
from replicator.model.ids import LogIndex, Revision
from replicator.model.values import KeyValue, PairColumns
from replicator.storage.layout import Databases, Header, Transaction
from replicator.storage.state.keys import first_stored, group_of, is_long, stored_key, superseded_prefix, whole_key
from replicator.storage.state.layers import Layer
from replicator.storage.state.records import DELETION, NUMBER_BYTES, Change, pack_revision, unpack_change, unpack_record

EXAMINED_KEYS_MAX: Final = 10_000  # a page looks at no more keys than this, live or not, so its cost is bounded
LONG_KEYS_HELD_MAX: Final = 1000  # of one stem, while they are sorted


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What to scan. end: exclusive; None or empty for no end. after_key: continue behind it, None to begin at start.

    at_revision: None for the newest. bytes_max: the page ends once its keys and values hold this many.
    """

    start: bytes
    end: bytes | None
    at_revision: Revision | None
    after_key: bytes | None
    keys_max: int
    bytes_max: int


@dataclass(frozen=True, slots=True)
class ScanPage:
    """One page. May be empty and yet have `more`: continue with after_key=last_key and at_revision=revision.

    revision: what the page shows. applied_index: of the transaction that read it. last_key: last key looked at.
    """

    kvs: tuple[KeyValue, ...]
    revision: Revision
    applied_index: LogIndex
    more: bool
    last_key: bytes | None


def get(txn: Transaction, databases: Databases, key: bytes, layers: tuple[Layer, ...] = ()) -> KeyValue | None:
    """The live pair, None if there is none. layers: over the data file, newest first. Raises CorruptData."""
    if not key:
        return None
    stored = stored_key(key)
    for layer in layers:
        data = layer.index.get(stored)
        if data is not None:
            break
    else:
        data = txn.get(stored, db=databases.index)
        if data is None:
            return None
    record = unpack_record(data)
    if record[5] & DELETED:
        return None
    number = pack_revision(record[0], record[1])
    for layer in layers:
        data = layer.changes.get(number)
        if data is not None:
            return _pair_of(key, number, unpack_change(number, data), record[0])
    return _live_pair(txn, databases, key, number, record[0])


def get_many(
    txn: Transaction, databases: Databases, keys: Sequence[bytes], bytes_max: int, layers: tuple[Layer, ...] = ()
) -> PairColumns:
    """The live pairs, in columns; of the first keys only, once their values hold `bytes_max`. At least one."""
    columns = PairColumns()
    held_bytes = 0
    for key in keys:
        pair = get(txn, databases, key, layers)
        if pair is None:
            columns.values.append(b"")
            columns.create_revisions.append(0)
            columns.mod_revisions.append(0)
            columns.versions.append(0)
            continue
        held_bytes += len(pair.value)
        if held_bytes > bytes_max and columns.values:
            break
        columns.values.append(pair.value)
        columns.create_revisions.append(pair.create_revision)
        columns.mod_revisions.append(pair.mod_revision)
        columns.versions.append(pair.version)
    return columns


def scan(txn: Transaction, databases: Databases, wanted: PageRequest) -> ScanPage:
    """One page of live pairs in key order, as of one revision. Raises Compacted, CorruptData."""
    assert wanted.keys_max >= 1
    header = Header.load(txn, databases)
    is_past = wanted.at_revision is not None and wanted.at_revision < header.revision
    revision = wanted.at_revision if is_past and wanted.at_revision is not None else header.revision
    if revision < header.compacted_revision:
        raise Compacted(
            f"revision {revision} is forgotten, the oldest held is {header.compacted_revision}; begin the scan anew",
            metadata={"revision": str(revision), "compacted_revision": str(header.compacted_revision)},
        )
    start = wanted.start if wanted.after_key is None else max(wanted.start, wanted.after_key + b"\x00")
    kvs: list[KeyValue] = []
    page_bytes, last_key, more = 0, None, False
    for examined, (key, stored, record) in enumerate(_keys_from(txn, databases, start)):
        if wanted.end and key >= wanted.end:
            break
        if examined == EXAMINED_KEYS_MAX or len(kvs) == wanted.keys_max or page_bytes >= wanted.bytes_max:
            more = True
            break
        number = _number_at(txn, databases, stored, record, revision)
        pair = None if number is None else _live_pair(txn, databases, key, number[0], number[1])
        if pair is not None:
            kvs.append(pair)
            page_bytes += len(key) + len(pair.value)
        last_key = key
    return ScanPage(tuple(kvs), revision, header.applied_index, more, last_key)


def pairs(txn: Transaction, databases: Databases) -> Iterator[Pair | None]:
    """All live pairs in key order; None for a deleted key, so that the caller gets a turn at every key."""
    for key, _, record in _keys_from(txn, databases, b""):
        if record[5] & DELETED:
            yield None
        else:
            main, sub, create_revision, version = record[:4]
            number = pack_revision(main, sub)
            change = unpack_change(number, txn.get(number, db=databases.changes))
            yield key, change.value, create_revision, main, version


def _keys_from(txn: Transaction, databases: Databases, start: bytes) -> Iterator[tuple[bytes, bytes, Record]]:
    """(key, stored key, newest record) of every key at or after `start` that the index holds, in key order."""
    with txn.cursor(db=databases.index) as cursor:
        first = first_stored(start)
        found = cursor.set_range(first) if first else cursor.first()
        while found:
            stored = cursor.key()
            if is_long(stored):
                first, end = group_of(stored)
                yield from _long_keys(txn, databases, (first, end), start)
                found = cursor.set_range(end)
                continue
            key = whole_key(stored)
            if key >= start:
                yield key, stored, unpack_record(cursor.value())
            found = cursor.next()


def _long_keys(
    txn: Transaction, databases: Databases, group: tuple[bytes, bytes], start: bytes
) -> Iterator[tuple[bytes, bytes, Record]]:
    """Those of one stem at or after `start`, in the order of their whole keys, which only their changes hold."""

    def whole(low: bytes) -> Iterator[tuple[bytes, bytes, Record]]:
        with txn.cursor(db=databases.index) as cursor:
            found = cursor.set_range(group[0])
            while found and cursor.key() < group[1]:
                record = unpack_record(cursor.value())
                number = pack_revision(record[0], record[1])
                key = unpack_change(number, txn.get(number, db=databases.changes)).key
                if key >= low:
                    yield key, cursor.key(), record
                found = cursor.next()

    while some := nsmallest(LONG_KEYS_HELD_MAX, whole(start)):
        yield from some
        if len(some) < LONG_KEYS_HELD_MAX:
            return
        start = some[-1][0] + b"\x00"


def _number_at(
    txn: Transaction, databases: Databases, stored: bytes, record: Record, revision: Revision
) -> tuple[bytes, int] | None:
    """Revision, packed and its main number, of what the key held at `revision`; None if it held nothing."""
    if record[0] <= revision:
        return None if record[5] & DELETED else (pack_revision(record[0], record[1]), record[0])
    prefix = superseded_prefix(stored)
    with txn.cursor(db=databases.superseded) as cursor:
        found = cursor.prev() if cursor.set_range(prefix + pack_revision(revision + 1, 0)) else cursor.last()
        older, mark = cursor.item() if found else (b"", DELETION)
    if mark == DELETION or len(older) != len(prefix) + NUMBER_BYTES or not older.startswith(prefix):
        return None
    number = older[len(prefix) :]
    return number, int.from_bytes(number[:8], "big")


def _live_pair(txn: Transaction, databases: Databases, key: bytes, number: bytes, main: int) -> KeyValue | None:
    return _pair_of(key, number, unpack_change(number, txn.get(number, db=databases.changes)), main)


def _pair_of(key: bytes, number: bytes, change: Change, main: int) -> KeyValue | None:
    if change.key != key:
        raise CorruptData(f"the change of revision {int.from_bytes(number[:8], 'big')} is of another key")
    if change.flags & DELETED:
        return None
    return KeyValue(key, change.value, change.create_revision, main, change.version)
