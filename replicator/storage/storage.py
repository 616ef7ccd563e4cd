"""The room's face: one turn in, outcomes out; short reads from any thread.

Invariant: `position` is that of the last durable commit, never ahead of it.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from replicator.machine.digest import Pair, state_hash
from replicator.machine.group_entries import membership_of
from replicator.model.errors import CorruptData, DataDirectoryError, StorageFailed, Superseded, Unavailable
from replicator.model.ids import ClusterId, LogIndex, NodeId, Revision, Term
from replicator.model.incarnation import Incarnation, KnownIncarnation
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.model.members import DIRECTORY_ID_BYTES, Membership
from replicator.model.values import KeyValue
from replicator.storage.data_directory import runs as incarnations
from replicator.storage.env import Environment
from replicator.storage.failures import DiskFull, InvariantViolated, SnapshotRefused
from replicator.storage.layout import (
    DIRECTORY_ID_KEY,
    JOINING_KEY,
    MEMBERSHIP_KEY,
    SUPERSEDED_KEY,
    TIMING_KEY,
    Databases,
    Header,
    Transaction,
    pack_number,
)
from replicator.storage.log.raft_log import LogBounds, RaftLog
from replicator.storage.log.soundness import assert_ordered, refuse_out_of_range
from replicator.storage.opening import Identity, damaged, open_environment, random_run_id, shortened, superseded
from replicator.storage.snapshots.installing import Held, seal
from replicator.storage.state import reads
from replicator.storage.state.reads import PageRequest, ScanPage
from replicator.storage.state.turn import perform_turn
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


def _random_directory_id() -> bytes:
    return os.urandom(DIRECTORY_ID_BYTES)


class _ResizeWanted(Exception):
    """The long read stepped out, so that the writer can grow the map."""


class Storage:
    """One data directory, open. `commit` from one thread at a time, everything else from any thread."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._committing = threading.Lock()
        self._failure: StorageFailed | None = None
        with environment.read() as txn:
            self._directory_id = _directory_id_of(txn, self._databases)
            self._joining = txn.get(JOINING_KEY, db=self._databases.meta) is not None
            self._position = _position_of(Header.load(txn, self._databases))
            log = RaftLog(txn, self._databases)
            refuse_out_of_range(environment.path, log)
            assert_ordered(self._position.applied_index, log)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        cluster_id: ClusterId,
        node_id: NodeId,
        size_max_bytes: int,
        new_directory_id: Callable[[], bytes] = _random_directory_id,
        joining: bool = False,
        new_run_id: Callable[[], bytes] = random_run_id,
    ) -> "Storage":
        """Opens or creates the data directory, and counts the run. Raises DataDirectoryError, also if it is damaged.

        new_directory_id: DIRECTORY_ID_BYTES that no other directory has; asked for when this one has none yet.
        joining: the node joins a group that is there already; noted in a directory that is new or has heard of nobody.
        new_run_id: RUN_ID_BYTES that no other run has.
        """
        identity = Identity(cluster_id, node_id, new_directory_id, joining, new_run_id)
        environment = open_environment(path, size_max_bytes, identity)
        try:
            return cls(environment)
        except StorageFailed as failure:
            environment.close()
            raise DataDirectoryError(damaged(path, str(failure))) from failure
        except BaseException:
            environment.close()
            raise

    def commit(self, write: TurnWrite) -> list[list[store_pb2.Outcome]]:
        """Makes one turn durable, all of it or nothing; blocks for the disk. Outcomes per applied entry, per command.

        Raises DiskFull: nothing was changed, the same write may be retried. Raises StorageFailed: the node must stop;
        every later commit raises the same, and reads may fail too (after a failed meta page write lmdb refuses them).
        """
        with self._writing("a turn"):
            result = self._environment.write(lambda txn: perform_turn(txn, self._databases, write))
            self._position = _position_of(result.header)
            return result.outcomes

    def note_incarnation(self, node_id: NodeId, newest: KnownIncarnation) -> None:
        """Remembers, durably, which run of which directory was linked under that name. An earlier one changes nothing.

        For the thread that commits. Raises DiskFull or StorageFailed, as `commit` does.
        """
        if self.known_incarnation(node_id) == newest:
            return
        with self._writing("a note of an incarnation"):
            self._environment.write(lambda txn: incarnations.note(txn, self._databases, node_id, newest))

    def mark_superseded(self, why: str) -> Superseded:
        """Another copy of this directory has run: from now on this one refuses commits, and never opens for serving.

        For the thread that commits. why: one line. Returns what commits raise from now on. Raises DiskFull or
        StorageFailed; even then it refuses commits.
        """
        mark = shortened(why)
        failure = Superseded(superseded(self.path, mark))
        try:
            with self._writing("a mark"):
                self._environment.write(lambda txn: txn.put(SUPERSEDED_KEY, mark.encode(), db=self._databases.meta))
        finally:
            self._failure = self._failure or failure
        return failure

    def install(self, prepared_dir: Path) -> None:
        """Goes on with the data that `prepare_snapshot` left in `prepared_dir`, under the term and vote held here.

        For the thread that commits. Reads wait meanwhile, and work before and after. Killed at any point, the directory
        holds the old data or the new. Raises SnapshotRefused or DiskFull: nothing was changed; StorageFailed as
        `commit` does, and reads raise it too.
        """
        with self._writing("an install"):
            with self._environment.read() as txn:
                held = Held.load(txn, self._databases, self.term_at)
            self._environment.install(seal(prepared_dir, held))
            with self._environment.read() as txn:
                if _directory_id_of(txn, self._databases) != self._directory_id:
                    raise InvariantViolated("the data directory has another id than before")
                position = _position_of(Header.load(txn, self._databases))
                assert_ordered(position.applied_index, RaftLog(txn, self._databases))
            self._position = position

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """Alone. After any failure, an assert and damaged data included, nothing is written any more."""
        if not self._committing.acquire(blocking=False):
            raise InvariantViolated(f"{what} while something else is being written")
        try:
            if self._failure is not None:
                raise self._failure
            yield
        except (SnapshotRefused, DiskFull):
            raise
        except StorageFailed as failure:
            self._failure = failure
            raise
        except Exception as error:
            self._failure = StorageFailed(f"{what} met an impossible state: {type(error).__name__}: {error}")
            raise self._failure from error
        finally:
            self._committing.release()

    @property
    def _databases(self) -> Databases:
        """Of the data that are open now, so to be asked for within a transaction."""
        return self._environment.opened().databases

    @property
    def position(self) -> Position:
        """As of the last commit."""
        return self._position

    @property
    def path(self) -> Path:
        """The data directory."""
        return self._environment.path

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
        """Bytes of the pages that the log takes."""
        with self._environment.read() as txn:
            pages = txn.stat(self._databases.log)
            return int((pages["branch_pages"] + pages["leaf_pages"] + pages["overflow_pages"]) * pages["psize"])

    def load_log(self) -> LogBounds:
        """First and last entry held; all 0 if the log is empty."""
        with self._environment.read() as txn:
            return RaftLog(txn, self._databases).bounds()

    def read_entries(self, first: LogIndex, *, count_max: int, bytes_max: int) -> list[Entry]:
        """Entries from `first` on; at least one if it is held, none if it is compacted away. Raises CorruptData."""
        with self._environment.read() as txn:
            return RaftLog(txn, self._databases).read(first, count_max=count_max, bytes_max=bytes_max)

    def term_at(self, index: LogIndex) -> Term | None:
        """Term of an entry; None if it is not held."""
        with self._environment.read() as txn:
            entry = RaftLog(txn, self._databases).entry_at(index)
        return None if entry is None else entry.term

    def hard_state(self) -> HardState:
        """Term, vote and commit index; those of a new node if none were saved."""
        with self._environment.read() as txn:
            return RaftLog(txn, self._databases).hard_state()

    # Group

    def membership(self) -> Membership | None:
        """What was applied last; None if the group has never changed it. Raises CorruptData."""
        with self._environment.read() as txn:
            data = txn.get(MEMBERSHIP_KEY, db=self._databases.meta)
        return None if data is None else membership_of(_parsed(store_pb2.Membership(), data))

    def timing(self) -> store_pb2.Timing | None:
        """What was applied last; None if the group has never changed it. Raises CorruptData."""
        with self._environment.read() as txn:
            data = txn.get(TIMING_KEY, db=self._databases.meta)
        return None if data is None else _parsed(store_pb2.Timing(), data)

    def log_time_ms(self) -> int:
        """Log time of the newest batch applied, as of the last commit; 0 if none was ever."""
        return self._position.time_ms

    # State

    def get(self, key: bytes) -> tuple[KeyValue | None, Revision, LogIndex]:
        """The live pair or None, and revision and applied index that the read saw."""
        with self._environment.read() as txn:
            header = Header.load(txn, self._databases)
            return reads.get(txn, self._databases, key), header.revision, header.applied_index

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
        """One page; see PageRequest and ScanPage. A revision not reached yet is answered as of the newest."""
        wanted = PageRequest(start, end, at_revision, after_key, keys_max, bytes_max)
        with self._environment.read() as txn:
            return reads.scan(txn, self._databases, wanted)

    def digest_at(self, index: LogIndex) -> bytes | None:
        """Rolling hash after `index`; None if it is not applied here, or compacted away."""
        with self._environment.read() as txn:
            return txn.get(pack_number(index), db=self._databases.digests)

    def state_hash(self) -> tuple[str, LogIndex]:
        """Hash of all live pairs, and the index at which they were read. Long: not for the loop's thread.

        Begins anew when the map must grow meanwhile; raises Unavailable when that happens again and again.
        """
        for _ in range(STATE_HASH_ATTEMPTS_MAX):
            try:
                return self._state_hash_once()
            except _ResizeWanted:
                continue
        raise Unavailable("the store grows too fast for a state hash; try again", retry_after_s=1.0)

    def _state_hash_once(self) -> tuple[str, LogIndex]:
        with self._environment.read() as txn:
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

    def close(self) -> None:
        """Lets go of the directory. Closing twice is fine."""
        self._environment.close()


def _directory_id_of(txn: Transaction, databases: Databases) -> bytes:
    held = txn.get(DIRECTORY_ID_KEY, db=databases.meta)
    if held is None or len(held) != DIRECTORY_ID_BYTES:
        raise InvariantViolated("the data directory has no id")
    return held


def _position_of(header: Header) -> Position:
    return Position(header.applied_index, header.revision, header.live_keys, header.time_ms, header.rolling_hash)


def _parsed(message: M, data: bytes) -> M:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise CorruptData(f"{type(message).__name__}: {error}") from None
    return message
