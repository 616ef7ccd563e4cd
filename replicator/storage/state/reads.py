"""Reads of the store within one read transaction: one key, a page of keys at any revision, all live pairs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from replicator.machine.digest import Pair
from replicator.model.errors import CorruptData
from replicator.model.ids import LogIndex, Revision
from replicator.model.values import KeyValue
from replicator.storage.layout import Cursor, Databases, Header, Transaction, pack_number, unpack_number
from replicator.v1 import store_pb2

EXAMINED_KEYS_MAX: Final = 10_000  # a page looks at no more keys than this, live or not, so its cost is bounded


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


def get(txn: Transaction, databases: Databases, key: bytes) -> KeyValue | None:
    """The live pair, None if there is none."""
    with txn.cursor(db=databases.by_key) as cursor:
        if not key or not cursor.set_key(key):
            return None
        cursor.last_dup()
        return _live_pair(txn, databases, key, cursor.value())


def scan(txn: Transaction, databases: Databases, wanted: PageRequest) -> ScanPage:
    """One page of live pairs in key order, as of one revision."""
    assert wanted.keys_max >= 1
    header = Header.load(txn, databases)
    is_past = wanted.at_revision is not None and wanted.at_revision < header.revision
    revision = wanted.at_revision if is_past and wanted.at_revision is not None else header.revision
    start = wanted.start if wanted.after_key is None else max(wanted.start, wanted.after_key + b"\x00")
    kvs: list[KeyValue] = []
    page_bytes, examined, last_key, more = 0, 0, None, False
    with txn.cursor(db=databases.by_key) as cursor:
        found = cursor.set_range(start) if start else cursor.first()
        while found:
            key = cursor.key()
            if wanted.end and key >= wanted.end:
                break
            if examined == EXAMINED_KEYS_MAX or len(kvs) == wanted.keys_max or page_bytes >= wanted.bytes_max:
                more = True
                break
            number = _last_number(cursor, key, revision if is_past else None)
            pair = None if number is None else _live_pair(txn, databases, key, number)
            if pair is not None:
                kvs.append(pair)
                page_bytes += len(key) + len(pair.value)
            examined += 1
            last_key = key
            found = cursor.next_nodup()
    return ScanPage(tuple(kvs), revision, header.applied_index, more, last_key)


def pairs(txn: Transaction, databases: Databases) -> Iterator[Pair | None]:
    """All live pairs in key order; None for a deleted key, so that the caller gets a turn at every key."""
    with txn.cursor(db=databases.by_key) as cursor:
        found = cursor.first()
        while found:
            key = cursor.key()
            cursor.last_dup()
            number = cursor.value()
            event = _event(txn, databases, number)
            if event.deleted:
                yield None
            else:
                yield key, event.value, event.create_revision, unpack_number(number), event.version
            found = cursor.next_nodup()


def _last_number(cursor: Cursor, key: bytes, at_revision: Revision | None) -> bytes | None:
    """Packed revision of the key's newest event, at or before `at_revision` if given. Leaves the cursor at the key."""
    if at_revision is None:
        cursor.last_dup()
        return cursor.value()
    if unpack_number(cursor.value()) > at_revision:  # a cursor that comes to a key stands at its first revision
        return None
    if cursor.set_range_dup(key, pack_number(at_revision + 1)):
        cursor.prev_dup()
    else:  # the cursor is lost when all revisions are older
        cursor.set_key(key)
        cursor.last_dup()
    return cursor.value()


def _live_pair(txn: Transaction, databases: Databases, key: bytes, number: bytes) -> KeyValue | None:
    event = _event(txn, databases, number)
    if event.deleted:
        return None
    return KeyValue(key, event.value, event.create_revision, unpack_number(number), event.version)


def _event(txn: Transaction, databases: Databases, number: bytes) -> store_pb2.StoredEvent:
    data = txn.get(number, db=databases.events)
    if data is None:
        raise CorruptData(f"revision {unpack_number(number)} is named by its key and has no event")
    try:
        return store_pb2.StoredEvent.FromString(data)
    except DecodeError as error:
        raise CorruptData(f"revision {unpack_number(number)} does not decode") from error
