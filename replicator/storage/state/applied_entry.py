"""The entry applied last, kept beside the state: a log that begins anew, after a snapshot, begins with it."""

from struct import Struct
from typing import Final
from zlib import crc32

from replicator.model.errors import CorruptData
from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry
from replicator.storage.layout import Databases, Transaction, pack_number

_HEAD: Final = Struct(">QI")  # term, checksum
_PLACE: Final = Struct(">QQ")  # index, term: part of the checksum


def put_applied(txn: Transaction, databases: Databases, entry: Entry) -> None:
    """In place of the one before."""
    txn.drop(databases.applied, delete=False)
    txn.put(pack_number(entry.index), _HEAD.pack(entry.term, _checksum(entry)) + entry.payload, db=databases.applied)


def load_applied(txn: Transaction, databases: Databases, index: LogIndex) -> Entry:
    """The entry at the applied index. Raises CorruptData if it is not there or damaged."""
    data = txn.get(pack_number(index), db=databases.applied)
    if data is None or len(data) < _HEAD.size:
        raise CorruptData(f"no log entry at the applied index {index}")
    term, checksum = _HEAD.unpack_from(data)
    entry = Entry(data[_HEAD.size :], index, Term(term))
    if _checksum(entry) != checksum:
        raise CorruptData(f"the entry at the applied index {index} does not match its checksum")
    return entry


def _checksum(entry: Entry) -> int:
    return crc32(entry.payload, crc32(_PLACE.pack(entry.index, entry.term)))
