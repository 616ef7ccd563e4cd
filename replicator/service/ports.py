"""What the use cases need of the engine and the store.

Both satisfy these by shape; neither is imported, so that a use case can be tried over any log and any store.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from replicator.model.changes import StoredChange
from replicator.model.ids import LogIndex, NodeId, Region, Revision
from replicator.model.members import MemberChange, Membership
from replicator.model.status import EngineStatus
from replicator.model.values import KeyValue, PairColumns
from replicator.v1 import store_pb2


class EnginePort(Protocol):
    """The replicated log as one node sees it. Works on any node, leader or not."""

    async def propose(self, command: bytes, *, timeout_s: float) -> store_pb2.BatchOutcome:
        """Replicates a serialized store_pb2.CommandBatch and returns its outcome once it is applied.

        Forwards to the leader when needed. The founder is known here by the time of an outcome. Raises NoLeader,
        Overloaded, StorageFull, ShuttingDown (nothing happened), DeadlineExceeded (surely not proposed),
        OutcomeUnknown.
        """
        ...

    async def read_index(self, *, timeout_s: float) -> LogIndex:
        """A linearizable point: covers every write acknowledged before the call. Raises NoLeader, DeadlineExceeded."""
        ...

    async def wait_applied(self, index: LogIndex, *, timeout_s: float) -> None:
        """Returns once the local store holds `index`. Raises ReplicaBehind on timeout."""
        ...

    def listen_applied(self, listener: Callable[[], None]) -> None:
        """Is called on the loop whenever the store holds more, by entries or a snapshot; short, never raises."""
        ...

    async def wait_stored(self, *, timeout_s: float) -> None:
        """Returns once `scan` and `state_hash` see all that is applied now. Raises ReplicaBehind."""
        ...

    async def wait_fresh(self, max_staleness_ms: float, *, timeout_s: float) -> None:
        """Returns once the replica is provably no staler. Raises ReplicaBehind on timeout."""
        ...

    def staleness_ms(self) -> float | None:
        """Upper bound of the age of the local state; None if this node cannot tell."""
        ...

    @property
    def applied_index(self) -> LogIndex: ...

    @property
    def founder(self) -> bytes:
        """Of the group whose log is applied here (Membership.founder); empty until that is known, then the same."""
        ...

    @property
    def known_commit_index(self) -> LogIndex:
        """Commit index as far as this node knows; never ahead of the true one."""
        ...

    def status(self) -> EngineStatus: ...


class GroupPort(Protocol):
    """Who belongs to the Raft group and who leads it, as one node sees and changes it. Works on any node."""

    def membership(self) -> Membership:
        """As applied here."""
        ...

    async def change_members(self, change: MemberChange, *, timeout_s: float) -> Membership:
        """Returns once the change is committed, and applied at the leader. A repeated change has no effect.

        A new voter becomes JOINING, and a VOTER by itself once it has caught up. Raises InvalidArgument,
        ChangeInProgress, NoLeader, Overloaded, DeadlineExceeded, ShuttingDown (nothing happened), OutcomeUnknown.
        """
        ...

    async def transfer_leadership(
        self, target: NodeId | None = None, region: Region | None = None, *, timeout_s: float
    ) -> NodeId:
        """The new leader: `target`, a voter of `region`, or any voter that has caught up.

        Raises InvalidArgument, and Unavailable if nobody took over in time: the old leader goes on.
        """
        ...


class PagePort(Protocol):
    """One page of a scan, read in one transaction."""

    @property
    def kvs(self) -> Sequence[KeyValue]: ...

    @property
    def revision(self) -> Revision:
        """The revision that the page shows."""
        ...

    @property
    def applied_index(self) -> LogIndex: ...

    @property
    def more(self) -> bool:
        """True if the range holds keys beyond this page."""
        ...

    @property
    def last_key(self) -> bytes | None:
        """Where the next page resumes: the last key looked at; None if there was none."""
        ...


class PositionPort(Protocol):
    """Watermarks of the store, all of one transaction."""

    @property
    def applied_index(self) -> LogIndex: ...

    @property
    def revision(self) -> Revision: ...

    @property
    def live_keys(self) -> int: ...

    @property
    def time_ms(self) -> int: ...

    @property
    def rolling_hash(self) -> bytes: ...


class ChangesPagePort(Protocol):
    """Some changes of history, in order of their revisions, read in one transaction."""

    @property
    def changes(self) -> Sequence[StoredChange]: ...

    @property
    def following(self) -> tuple[int, int]:
        """Revision and position where the next page begins; within a revision if the position is not 0."""
        ...

    @property
    def stored_revision(self) -> Revision:
        """Newest revision of what was read from."""
        ...

    @property
    def applied_index(self) -> LogIndex: ...


class RecentChangesPort(Protocol):
    """Whole revisions, in order, up to `revision`. applied_index: at it, the store held all of them."""

    @property
    def changes(self) -> Sequence[Sequence[StoredChange]]: ...

    @property
    def revision(self) -> Revision: ...

    @property
    def applied_index(self) -> LogIndex: ...


class FeedReads(Protocol):
    """Changes of the local replica. What is applied last may be in memory only; `changes` reads what is on disk."""

    @property
    def applied_position(self) -> "PositionPort": ...

    @property
    def compacted_revision(self) -> Revision: ...

    def recent_changes(self, first: Revision, *, count_max: int) -> RecentChangesPort | None:
        """Whole revisions from `first` on, until they hold count_max changes; None if memory holds less. On the loop.

        Nothing if `first` is not applied.
        """
        ...

    def previous_pair(self, change: StoredChange) -> KeyValue | None:
        """What the key held before; None if nothing, or if it is compacted. On the loop."""
        ...

    def changes(
        self,
        first: tuple[int, int],
        wants: Callable[[bytes, bool], bool],
        *,
        with_previous: bool,
        examined_max: int,
        bytes_max: int,
    ) -> ChangesPagePort:
        """A page of history; see storage/state/history.py. Too long for the loop's thread. Raises Compacted."""
        ...


class StoreReads(Protocol):
    """Reads of the local replica, from any thread. `scan` and `state_hash` are too long for the loop's own."""

    def get(self, key: bytes) -> tuple[KeyValue | None, Revision, LogIndex]:
        """The pair, the store's revision and its applied index, all of one transaction."""
        ...

    def get_many(self, keys: Sequence[bytes], *, bytes_max: int) -> tuple[PairColumns, Revision, LogIndex]:
        """As `get`, of all keys in one transaction, or of the first of them once their values hold `bytes_max`.

        At least one.
        """
        ...

    def scan(
        self,
        start: bytes,
        end: bytes,
        *,
        at_revision: Revision | None,
        after_key: bytes | None,
        keys_max: int,
        bytes_max: int,
    ) -> PagePort:
        """Pairs of [start, end) after `after_key` as of `at_revision` (None: the newest); empty end: no end."""
        ...

    @property
    def applied_position(self) -> PositionPort:
        """What `get` sees; `scan` and `state_hash` may see less (EnginePort.wait_stored)."""
        ...

    def state_hash(self) -> tuple[str, LogIndex]:
        """Hash of the whole keyed state and the index it belongs to. Blocks for as long as a full scan."""
        ...

    def data_bytes(self) -> int: ...
