"""Where the state is: the databases of the one environment, and how their keys and records are laid out.

Numbers in keys are big endian, so that byte order is number order. A value is stored once, in the change that brought
it: `index` leads from a key to its newest change, `superseded` to the older ones. How keys and records look:
`state/keys.py`, `state/records.py`.
"""

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import lmdb

from replicator.machine.digest import GENESIS_HASH
from replicator.model.errors import CorruptData
from replicator.model.ids import LogIndex, Revision
from replicator.model.limits import FORMAT_LIMITS, FORMAT_LIMITS_NUMBER

FORMAT_VERSION: Final = 3  # from 3 on, a release that changes the format reads the older ones, or migrates them
GROUP_ID: Final = 1  # a cluster has one group so far, and a directory holds the data of one

_NUMBER: Final = Struct(">Q")
_HEADER: Final = Struct(">QQQQQQI16s")

HEADER_KEY: Final = b"header"
COMPACTION_KEY: Final = b"compaction"  # up to which change the store was compacted; see state/compacting.py
MEMBERSHIP_KEY: Final = b"membership"  # store_pb2.Membership; absent as long as the configuration's is in force
TIMING_KEY: Final = b"timing"  # store_pb2.Timing; absent as long as the configuration's is in force
NODE_ID_KEY: Final = b"node_id"
DIRECTORY_ID_KEY: Final = b"directory_id"
JOINING_KEY: Final = b"joining"  # there if the directory began empty, in a group that was there before it
INCARNATION_KEY: Final = b"incarnation"  # how often the directory was opened
SUPERSEDED_KEY: Final = b"superseded"  # why; there if another copy of the directory has run
LOG_ID_KEY: Final = b"log_id"  # which of the logs under `log/` belongs to these data
OWN_KEYS: Final = (  # in no snapshot
    NODE_ID_KEY, DIRECTORY_ID_KEY, JOINING_KEY, INCARNATION_KEY, SUPERSEDED_KEY, LOG_ID_KEY,
)  # fmt: skip

pack_number: Final = _NUMBER.pack

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


@dataclass(frozen=True, slots=True)
class Databases:
    """Handles of all databases; valid as long as the environment is open."""

    meta: Database  # name -> value; `header` holds the watermarks, `directory_id` what tells this directory from others
    applied: Database  # index -> term, checksum, payload: of the entry applied last, and of no other
    digests: Database  # index -> rolling hash after it
    index: Database  # stored key -> record of its newest change, without the value
    changes: Database  # revision -> the change, checksum, key and value included
    superseded: Database  # stored key, revision of a change before the newest -> whether it was a deletion
    sessions: Database  # client id -> session
    results: Database  # client id, first sequence -> outcome of the batch
    idle: Database  # last used ms, client id -> nothing
    incarnations: Database  # node id -> StoredIncarnation: the newest run of that node that was linked

    @classmethod
    def open(cls, env: lmdb.Environment, txn: Transaction, *, create: bool) -> "Databases":
        """All of them, within one transaction; create: whether they may be new."""

        def plain(name: str) -> Database:
            return env.open_db(name.encode(), txn=txn, create=create)

        return cls(
            meta=plain("meta"),
            applied=plain("applied"),
            digests=plain("digests"),
            index=plain("index"),
            changes=plain("changes"),
            superseded=plain("superseded"),
            sessions=plain("sessions"),
            results=plain("results"),
            idle=plain("idle"),
            incarnations=plain("incarnations"),
        )


DATABASE_COUNT: Final = len(Databases.__slots__)


@dataclass(frozen=True, slots=True)
class Header:
    """The store's watermarks, in one record, so that they move together.

    compacted_revision: reads go back to this one, and no further. limits: number of the store's FORMAT_LIMITS.
    """

    applied_index: LogIndex
    revision: Revision
    live_keys: int
    time_ms: int
    session_count: int
    compacted_revision: Revision
    limits: int
    rolling_hash: bytes

    def pack(self) -> bytes:
        return _HEADER.pack(
            self.applied_index,
            self.revision,
            self.live_keys,
            self.time_ms,
            self.session_count,
            self.compacted_revision,
            self.limits,
            self.rolling_hash,
        )

    @classmethod
    def load(cls, txn: Transaction, databases: Databases) -> "Header":
        """The header as `txn` sees it; that of an empty store if nothing was ever applied."""
        data = txn.get(HEADER_KEY, db=databases.meta)
        if data is None:
            return EMPTY_HEADER
        if len(data) != _HEADER.size:
            raise CorruptData(f"header: {len(data)} bytes, must be {_HEADER.size}")
        applied, revision, live_keys, time_ms, session_count, compacted, limits, rolling_hash = _HEADER.unpack(data)
        if limits not in FORMAT_LIMITS:
            raise CorruptData(f"header: limits of number {limits}, which this release does not know")
        return cls(
            LogIndex(applied),
            Revision(revision),
            live_keys,
            time_ms,
            session_count,
            Revision(compacted),
            limits,
            rolling_hash,
        )


EMPTY_HEADER: Final = Header(LogIndex(0), Revision(0), 0, 0, 0, Revision(0), FORMAT_LIMITS_NUMBER, GENESIS_HASH)
