"""Where everything is: the databases of the one environment, and how their keys and records are laid out.

Numbers in keys are big endian, so that byte order is number order. There is no database of current values: the latest
value of a key is its last revision in `by_key`, then the event of that revision, so a value is stored once.
"""

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import lmdb

from replicator.machine.digest import GENESIS_HASH
from replicator.model.errors import CorruptData
from replicator.model.ids import LogIndex, Revision

FORMAT_VERSION: Final = 2

_NUMBER: Final = Struct(">Q")
_IDLE_KEY: Final = Struct(">Q16s")  # last used ms, client id
_RESULT_KEY: Final = Struct(">16sQ")  # client id, sequence
_HEADER: Final = Struct(">QQQQQ16s")

HEADER_KEY: Final = b"header"
MEMBERSHIP_KEY: Final = b"membership"  # store_pb2.Membership; absent as long as the configuration's is in force
TIMING_KEY: Final = b"timing"  # store_pb2.Timing; absent as long as the configuration's is in force
NODE_ID_KEY: Final = b"node_id"
DIRECTORY_ID_KEY: Final = b"directory_id"
JOINING_KEY: Final = b"joining"  # there if the directory began empty, in a group that was there before it
INCARNATION_KEY: Final = b"incarnation"  # how often the directory was opened
SUPERSEDED_KEY: Final = b"superseded"  # why; there if another copy of the directory has run
OWN_KEYS: Final = (NODE_ID_KEY, DIRECTORY_ID_KEY, JOINING_KEY, INCARNATION_KEY, SUPERSEDED_KEY)  # in no snapshot

pack_number: Final = _NUMBER.pack
pack_idle_key: Final = _IDLE_KEY.pack
pack_result_key: Final = _RESULT_KEY.pack

# py-lmdb names these types in its stubs only: generic there, plain classes at run time.
if TYPE_CHECKING:
    Transaction = lmdb.Transaction[bytes]
    Cursor = lmdb.Cursor[bytes]
else:
    Transaction = lmdb.Transaction
    Cursor = lmdb.Cursor
Database = Any


def unpack_number(data: bytes) -> int:
    """The number that `pack_number` packed."""
    if len(data) != _NUMBER.size:
        raise CorruptData(f"a number of {len(data)} bytes, must be {_NUMBER.size}")
    number: int = _NUMBER.unpack(data)[0]
    return number


def unpack_idle_key(data: bytes) -> tuple[int, bytes]:
    """(last_used_ms, client_id)"""
    last_used_ms, client_id = _IDLE_KEY.unpack(data)
    return last_used_ms, client_id


@dataclass(frozen=True, slots=True)
class Databases:
    """Handles of all databases; valid as long as the environment is open."""

    meta: Database  # name -> value; `header` holds the watermarks, `directory_id` what tells this directory from others
    hard_state: Database  # "state" -> term, vote, commit index
    log: Database  # index -> term, checksum, payload
    digests: Database  # index -> rolling hash after it
    by_key: Database  # key -> its revisions, ascending (duplicates)
    events: Database  # revision -> StoredEvent
    sessions: Database  # client id -> SessionRecord
    results: Database  # client id, sequence -> StoredResult
    idle: Database  # last used ms, client id -> nothing much
    incarnations: Database  # node id -> StoredIncarnation: the newest run of that node that was linked

    @classmethod
    def open(cls, env: lmdb.Environment, txn: Transaction, *, create: bool) -> "Databases":
        """All of them, within one transaction; create: whether they may be new."""

        def plain(name: str) -> Database:
            return env.open_db(name.encode(), txn=txn, create=create)

        return cls(
            meta=plain("meta"),
            hard_state=plain("hard_state"),
            log=plain("log"),
            digests=plain("digests"),
            by_key=env.open_db(b"by_key", txn=txn, create=create, dupsort=True, dupfixed=True),
            events=plain("events"),
            sessions=plain("sessions"),
            results=plain("results"),
            idle=plain("idle"),
            incarnations=plain("incarnations"),
        )


DATABASE_COUNT: Final = len(Databases.__slots__)


@dataclass(frozen=True, slots=True)
class Header:
    """The store's watermarks, in one record, so that they move together."""

    applied_index: LogIndex
    revision: Revision
    live_keys: int
    time_ms: int
    session_count: int
    rolling_hash: bytes

    def pack(self) -> bytes:
        return _HEADER.pack(
            self.applied_index, self.revision, self.live_keys, self.time_ms, self.session_count, self.rolling_hash
        )

    @classmethod
    def load(cls, txn: Transaction, databases: Databases) -> "Header":
        """The header as `txn` sees it; that of an empty store if nothing was ever applied."""
        data = txn.get(HEADER_KEY, db=databases.meta)
        if data is None:
            return EMPTY_HEADER
        if len(data) != _HEADER.size:
            raise CorruptData(f"header: {len(data)} bytes, must be {_HEADER.size}")
        applied, revision, live_keys, time_ms, session_count, rolling_hash = _HEADER.unpack(data)
        return cls(LogIndex(applied), Revision(revision), live_keys, time_ms, session_count, rolling_hash)


EMPTY_HEADER: Final = Header(LogIndex(0), Revision(0), 0, 0, 0, GENESIS_HASH)
