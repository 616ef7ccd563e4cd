"""Reads of an open data directory, from any thread: what is applied, what is committed, what the log holds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from replicator.machine.digest import Pair, state_hash
from replicator.machine.group_entries import membership_of
from replicator.model.changes import StoredChange
from replicator.model.errors import CorruptData, Unavailable
from replicator.model.ids import LogIndex, NodeId, Revision, Term
from replicator.model.incarnation import Incarnation, KnownIncarnation
from replicator.model.log import Entry, HardState
from replicator.model.members import DIRECTORY_ID_BYTES, Membership
from replicator.model.values import KeyValue, PairColumns
from replicator.storage.data_directory import runs as incarnations
from replicator.storage.env import Environment
from replicator.storage.failures import InvariantViolated
from replicator.storage.layout import (
    DIRECTORY_ID_KEY,
    JOINING_KEY,
    MEMBERSHIP_KEY,
    TIMING_KEY,
    Databases,
    Header,
    Transaction,
    pack_number,
)
from replicator.storage.log.raft_log import LogBounds, RaftLog
from replicator.storage.state import history, reads
from replicator.storage.state.history import ChangesPage, ChangesRequest, RecentChanges
from replicator.storage.state.layers import Layer, Layers
from replicator.storage.state.reads import PageRequest, ScanPage
from replicator.v1 import store_pb2

M = TypeVar("M", bound=Message)

STATE_HASH_ATTEMPTS_MAX: Final = 5
_LOOK_EVERY_KEYS: Final = 512  # how often the long read looks whether a resize waits for it


@dataclass(frozen=True, slots=True)
class Position:
    """Where the store stands."""

    applied_index: LogIndex
    revision: Revision
    live_keys: int
    time_ms: int
    rolling_hash: bytes


class _ResizeWanted(Exception):
    """The long read stepped out, so that the writer can grow the map."""


class StoredReads:
    """What `Storage` answers. `get` sees all that is applied, scans and hashes see the last flush.

    Invariant: `position` is that of the last flush, so durable; the log is never behind it.
    """

    def __init__(self, environment: Environment, log: RaftLog) -> None:
        self._environment, self._log = environment, log
        with environment.read() as txn:
            self._directory_id = directory_id_of(txn, self._databases)
            self._joining = txn.get(JOINING_KEY, db=self._databases.meta) is not None
            header = Header.load(txn, self._databases)
        self._position = position_of(header)
        self._layers = Layers(Layer(header))

    @property
    def _databases(self) -> Databases:
        """Of the data that are open now, so to be asked for within a transaction."""
        return self._environment.opened().databases

    @property
    def position(self) -> Position:
        """Of the state on disk. The log may be ahead of it."""
        return self._position

    @property
    def applied_position(self) -> Position:
        """As of the last entry applied, in memory or on disk. What `get` sees; scans and hashes see `position`."""
        return position_of(self._layers.open.header)

    @property
    def path(self) -> Path:
        """The data directory."""
        return self._environment.path

    @property
    def size_max_bytes(self) -> int:
        """As configured: beyond it the data file does not grow."""
        return self._environment.size_max_bytes

    def is_in_place(self) -> bool:
        """Whether `path` still leads to the directory that is open: it may have been moved, and another put there."""
        return self._environment.is_in_place()

    @property
    def directory_id(self) -> bytes:
        """DIRECTORY_ID_BYTES, made when the directory was new or recovered: tells a node from its wiped successor."""
        return self._directory_id

    @property
    def joining(self) -> bool:
        """Whether the directory began empty, in a group that was there before it. For life."""
        return self._joining

    @property
    def incarnation(self) -> Incarnation:
        """Of this run: one more than that of the run before, durable since before `open` returned."""
        return self._environment.incarnation

    def known_incarnation(self, node_id: NodeId) -> KnownIncarnation | None:
        """The newest run of another node that was noted; None if none was. Raises CorruptData."""
        with self._environment.read() as txn:
            return incarnations.known(txn, self._databases, node_id)

    # Log

    def log_bytes(self) -> int:
        """Bytes of the entries held."""
        return self._log.size_bytes()

    def load_log(self) -> LogBounds:
        """First and last entry held; all 0 if the log is empty."""
        return self._log.bounds()

    def read_entries(self, first: LogIndex, *, count_max: int, bytes_max: int) -> list[Entry]:
        """Entries from `first` on; at least one if it is held, none if it is compacted away. Raises CorruptData."""
        return self._log.read(first, count_max=count_max, bytes_max=bytes_max)

    def term_at(self, index: LogIndex) -> Term | None:
        """Term of an entry; None if it is not held."""
        return self._log.term_at(index)

    def hard_state(self) -> HardState:
        """Term, vote and commit index; those of a new node if none were saved."""
        return self._log.hard_state()

    def stored_index(self) -> LogIndex:
        """Of the state on disk: entries up to this one are no longer needed by this node."""
        return self._position.applied_index

    # Group

    def membership(self) -> Membership | None:
        """What was applied last; None if the group has never changed it. Raises CorruptData."""
        data = self._meta(MEMBERSHIP_KEY)
        return None if data is None else membership_of(_parsed(store_pb2.Membership(), data))

    def timing(self) -> store_pb2.Timing | None:
        """What was applied last; None if the group has never changed it. Raises CorruptData."""
        data = self._meta(TIMING_KEY)
        return None if data is None else _parsed(store_pb2.Timing(), data)

    def log_time_ms(self) -> int:
        """Log time of the newest entry applied; 0 if none was ever."""
        return self._layers.open.header.time_ms

    def _meta(self, name: bytes) -> bytes | None:
        """As applied."""
        layers = self._layers.newest_first  # before the transaction: what a layer has lost by then is in the data file
        for layer in layers:
            if name in layer.meta:
                return layer.meta[name]
        with self._environment.read() as txn:
            return txn.get(name, db=self._databases.meta)

    # State

    def get(self, key: bytes) -> tuple[KeyValue | None, Revision, LogIndex]:
        """The live pair or None, and revision and applied index that the read saw: all that is applied."""
        with self._applied_view() as (txn, layers, header):
            return reads.get(txn, self._databases, key, layers), header.revision, header.applied_index

    def get_many(self, keys: Sequence[bytes], *, bytes_max: int) -> tuple[PairColumns, Revision, LogIndex]:
        """As `get`, of all keys in one transaction, or of the first of them once their values hold `bytes_max`."""
        with self._applied_view() as (txn, layers, header):
            columns = reads.get_many(txn, self._databases, keys, bytes_max, layers)
            return columns, header.revision, header.applied_index

    @contextmanager
    def _applied_view(self) -> Iterator[tuple[Transaction, tuple[Layer, ...], Header]]:
        """All that is applied, and nothing later: a short transaction, and the layers that lie over it."""
        layers = self._layers.newest_first  # before the transaction: what a layer has lost by then is in the data file
        with self._environment.read() as txn:
            header = Header.load(txn, self._databases)
            newer = tuple(layer for layer in layers if layer.header.applied_index > header.applied_index)
            yield txn, newer, newer[0].header if newer else header

    def scan(
        self,
        start: bytes,
        end: bytes | None,
        *,
        at_revision: Revision | None = None,
        after_key: bytes | None = None,
        keys_max: int,
        bytes_max: int,
    ) -> ScanPage:
        """One page of the state on disk; see PageRequest and ScanPage. A revision not reached yet: as of the newest.

        Long: not for the loop's thread. Raises Compacted, CorruptData.
        """
        wanted = PageRequest(start, end, at_revision, after_key, keys_max, bytes_max)
        with self._environment.long_read() as txn:
            return reads.scan(txn, self._databases, wanted)

    def recent_changes(self, first: Revision, *, count_max: int) -> RecentChanges | None:
        """Of what is applied; None if memory holds less than that. From the thread that applies."""
        return history.recent(self._layers.newest_first, first, count_max)

    def previous_pair(self, change: StoredChange) -> KeyValue | None:
        """What the key held before; None if nothing, or if it is compacted."""
        with self._applied_view() as (txn, layers, header):
            return history.previous_pair(txn, self._databases, change, header.compacted_revision, layers)

    def changes(
        self,
        first: tuple[int, int],
        wants: Callable[[bytes, bool], bool],
        *,
        with_previous: bool,
        examined_max: int,
        bytes_max: int,
    ) -> ChangesPage:
        """A page of history, of the state on disk; see ChangesRequest and ChangesPage.

        Long: not for the loop's thread. Raises Compacted, CorruptData.
        """
        wanted = ChangesRequest(first, wants, with_previous, examined_max, bytes_max)
        with self._environment.long_read() as txn:
            return history.page(txn, self._databases, wanted)

    @property
    def compacted_revision(self) -> Revision:
        """As applied: history before it is forgotten."""
        return self._layers.open.header.compacted_revision

    def digest_at(self, index: LogIndex) -> bytes | None:
        """Rolling hash after `index`; None if it is not applied here, or compacted away."""
        if index < self._log.first_index():
            return None
        for layer in self._layers.newest_first:
            if pack_number(index) in layer.digests:
                return layer.digests[pack_number(index)]
        with self._environment.read() as txn:
            return txn.get(pack_number(index), db=self._databases.digests)

    def state_hash(self) -> tuple[str, LogIndex]:
        """Hash of all live pairs of the state on disk, and the index of that. Long: not for the loop's thread.

        Begins anew when the map must grow meanwhile; raises Unavailable when that happens again and again.
        """
        for _ in range(STATE_HASH_ATTEMPTS_MAX):
            try:
                return self._state_hash_once()
            except _ResizeWanted:
                continue
        raise Unavailable("the store grows too fast for a state hash; try again", retry_after_s=1.0)

    def _state_hash_once(self) -> tuple[str, LogIndex]:
        with self._environment.long_read() as txn:
            applied_index = Header.load(txn, self._databases).applied_index

            def live_pairs() -> Iterator[Pair]:
                for count, pair in enumerate(reads.pairs(txn, self._databases)):
                    if count % _LOOK_EVERY_KEYS == 0 and self._environment.gate.exclusive_wanted:
                        raise _ResizeWanted
                    if pair is not None:
                        yield pair

            return state_hash(live_pairs()), applied_index

    def data_bytes(self) -> int:
        """Bytes in use on disk, free pages included."""
        return self._environment.used_bytes()


def directory_id_of(txn: Transaction, databases: Databases) -> bytes:
    """DIRECTORY_ID_BYTES. Raises InvariantViolated if there is none."""
    held = txn.get(DIRECTORY_ID_KEY, db=databases.meta)
    if held is None or len(held) != DIRECTORY_ID_BYTES:
        raise InvariantViolated("the data directory has no id")
    return held


def position_of(header: Header) -> Position:
    """The part of a header that others may know."""
    return Position(header.applied_index, header.revision, header.live_keys, header.time_ms, header.rolling_hash)


def _parsed(message: M, data: bytes) -> M:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise CorruptData(f"{type(message).__name__}: {error}") from None
    return message
