"""The Raft log and hard state within one transaction. Every entry carries a checksum over its place and its bytes."""

from dataclasses import dataclass
from struct import Struct
from struct import error as struct_error
from typing import Final
from zlib import crc32

from replicator.model.errors import CorruptData
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import Entry, HardState
from replicator.storage.layout import Databases, Transaction, pack_number, unpack_number

_ENTRY: Final = Struct(">QI")  # term, checksum
_PLACE: Final = Struct(">QQ")  # index, term: part of the checksum, so that a misplaced entry is found too
_HARD_STATE: Final = Struct(">QQ?I")  # term, commit index, whether a vote follows, checksum of all but itself
_HARD_STATE_FIELDS: Final = Struct(">QQ?")
_HARD_STATE_KEY: Final = b"state"

INITIAL_HARD_STATE: Final = HardState(Term(0), None, LogIndex(0))


@dataclass(frozen=True, slots=True)
class LogBounds:
    """First and last entry held; all 0 if the log is empty."""

    first_index: LogIndex
    last_index: LogIndex
    last_term: Term


class RaftLog:
    """The log as one transaction sees it."""

    __slots__ = ("_databases", "_txn")

    def __init__(self, txn: Transaction, databases: Databases) -> None:
        self._txn = txn
        self._databases = databases

    def bounds(self) -> LogBounds:
        """Raises CorruptData if the last entry is damaged."""
        with self._txn.cursor(db=self._databases.log) as cursor:
            if not cursor.first():
                return LogBounds(LogIndex(0), LogIndex(0), Term(0))
            first_index = LogIndex(unpack_number(cursor.key()))
            cursor.last()
            last = _decode_entry(LogIndex(unpack_number(cursor.key())), cursor.value())
            return LogBounds(first_index, last.index, last.term)

    def last_index(self) -> LogIndex:
        """0 if the log is empty. Reads no payload."""
        with self._txn.cursor(db=self._databases.log) as cursor:
            return LogIndex(unpack_number(cursor.key())) if cursor.last() else LogIndex(0)

    def append(self, entries: tuple[Entry, ...]) -> None:
        """Adds entries after the last one; their order and place are the caller's promise, checked by lmdb."""
        for entry in entries:
            added = self._txn.put(pack_number(entry.index), _encode_entry(entry), append=True, db=self._databases.log)
            assert added, f"entry {entry.index} is not after the last one"

    def truncate_from(self, index: LogIndex) -> int:
        """Deletes the entries at and after `index`; how many there were."""
        deleted = 0
        with self._txn.cursor(db=self._databases.log) as cursor:
            found = cursor.set_range(pack_number(index))
            while found:
                found = cursor.delete() and bool(cursor.key())
                deleted += 1
        return deleted

    def compact_to(self, index: LogIndex, *, count_max: int) -> LogIndex:
        """Deletes entries before `index`, oldest first, at most count_max, and the digests that go with them.

        The first index that is held then. `index` must be held.
        """
        first_index = self.bounds().first_index
        first_kept = min(index, LogIndex(first_index + count_max))
        for database in (self._databases.log, self._databases.digests):
            with self._txn.cursor(db=database) as cursor:
                found = cursor.first()
                while found and unpack_number(cursor.key()) < first_kept:
                    found = cursor.delete() and bool(cursor.key())
        return LogIndex(first_kept)

    def keep_only(self, index: LogIndex) -> None:
        """Deletes all but the entry at `index`, which must be held, and all digests but its own."""
        head = self._txn.get(pack_number(index), db=self._databases.log)
        digest = self._txn.get(pack_number(index), db=self._databases.digests)
        assert head is not None, f"no entry at {index}"
        assert digest is not None, f"no digest at {index}"
        for database, kept in ((self._databases.log, head), (self._databases.digests, digest)):
            self._txn.drop(database, delete=False)
            self._txn.put(pack_number(index), kept, db=database)

    def read(self, first: LogIndex, *, count_max: int, bytes_max: int) -> list[Entry]:
        """Entries from `first` on: at most count_max, ending with the one that reaches bytes_max of payload.

        None if `first` is not held: beyond the end, or compacted away.
        """
        assert count_max >= 1
        entries: list[Entry] = []
        payload_bytes = 0
        with self._txn.cursor(db=self._databases.log) as cursor:
            found = cursor.set_range(pack_number(first))
            while found and len(entries) < count_max and (not entries or payload_bytes < bytes_max):
                index = LogIndex(unpack_number(cursor.key()))
                if index != first + len(entries):
                    if not entries and not cursor.prev():
                        return []
                    raise CorruptData(f"log: entry {first + len(entries)} is missing before {index}")
                entries.append(_decode_entry(index, cursor.value()))
                payload_bytes += len(entries[-1].payload)
                found = cursor.next()
        return entries

    def entry_at(self, index: LogIndex) -> Entry | None:
        """None if it is not held. Raises CorruptData if it is damaged."""
        data = self._txn.get(pack_number(index), db=self._databases.log)
        return None if data is None else _decode_entry(index, data)

    def hard_state(self) -> HardState:
        """That of a new node if none was ever saved. Raises CorruptData if it is damaged."""
        data = self._txn.get(_HARD_STATE_KEY, db=self._databases.hard_state)
        return INITIAL_HARD_STATE if data is None else _decode_hard_state(data)

    def save_hard_state(self, state: HardState) -> None:
        self._txn.put(_HARD_STATE_KEY, _encode_hard_state(state), db=self._databases.hard_state)


def _encode_entry(entry: Entry) -> bytes:
    return _ENTRY.pack(entry.term, _entry_checksum(entry)) + entry.payload


def _entry_checksum(entry: Entry) -> int:
    return crc32(entry.payload, crc32(_PLACE.pack(entry.index, entry.term)))


def _decode_entry(index: LogIndex, data: bytes) -> Entry:
    if len(data) < _ENTRY.size:
        raise CorruptData(f"log: entry {index} has {len(data)} bytes, fewer than its header")
    term, checksum = _ENTRY.unpack_from(data)
    entry = Entry(payload=data[_ENTRY.size :], index=index, term=Term(term))
    if _entry_checksum(entry) != checksum:
        raise CorruptData(f"log: entry {index} does not match its checksum")
    return entry


def _encode_hard_state(state: HardState) -> bytes:
    vote = b"" if state.voted_for is None else state.voted_for.encode()
    fields = (state.term, state.commit_index, state.voted_for is not None)
    return _HARD_STATE.pack(*fields, crc32(vote, crc32(_HARD_STATE_FIELDS.pack(*fields)))) + vote


def _decode_hard_state(data: bytes) -> HardState:
    try:
        term, commit_index, has_vote, checksum = _HARD_STATE.unpack_from(data)
    except struct_error as error:
        raise CorruptData(f"hard state: {len(data)} bytes, fewer than its header") from error
    vote = data[_HARD_STATE.size :]
    if crc32(vote, crc32(_HARD_STATE_FIELDS.pack(term, commit_index, has_vote))) != checksum:
        raise CorruptData("hard state: does not match its checksum")
    return HardState(Term(term), NodeId(vote.decode()) if has_vote else None, LogIndex(commit_index))
