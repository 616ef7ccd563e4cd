"""The store as the state machine sees it: one view that reads its own writes."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from replicator.model.ids import LogIndex, Revision
from replicator.model.limits import FormatLimits
from replicator.v1 import store_pb2

DELETED: Final = 1  # a flag of a record: the change was a deletion

# What is known of a key without its value: revision of its last change (main, sub), create revision, version, lease,
# flags, value bytes. A plain tuple, since one is made for every write. Of a deletion, only revision and flags count.
Record = tuple[int, int, int, int, int, int, int]


class Session(NamedTuple):
    """What is remembered of a client: all sequences below `floor` are finished and forgotten.

    next_sequence: above all that was evaluated. results: outcomes remembered, one a batch; kept_bytes: their size.
    """

    floor: int
    next_sequence: int
    last_used_ms: int
    results: int
    kept_bytes: int


class KeptResult(NamedTuple):
    """What is remembered of one batch.

    commands: how many it has. digest: of what it asks for. outcome: a store_pb2.BatchOutcome, serialized.
    """

    commands: int
    digest: bytes
    outcome: bytes


class StorePort(Protocol):
    """Implemented over LMDB and what is still to be written to it by `storage/`, over dicts in tests."""

    def find(self, key: bytes) -> Record | None:
        """Of the newest change of the key, deletions included; None if there is none."""
        ...

    def value_of(self, key: bytes, record: Record) -> bytes:
        """The value that the change of that record stored."""
        ...

    def walk(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, Record]]:
        """Keys of [start, end) that have a record, with the newest one, deletions included, in key order.

        end: empty for no end. The store must not change while it is walked. To sort keys that are stored under a
        digest, others have to be looked at: each comes first with an empty key, also if it is not in the range.
        What is looked at does not depend on which deletions are compacted away, as far as these are older than
        `compacted_revision`: such ones a caller must neither count nor show.
        """
        ...

    def put_change(self, key: bytes, value: bytes, new: Record, old: Record | None, time_ms: int) -> None:
        """Records one change. old: what `find` says of the key before it; time_ms: log time."""
        ...

    def set_compacted(self, revision: Revision) -> None:
        """From now on no read goes back before `revision`; what only such reads need is deleted, by and by."""
        ...

    @property
    def compacted_revision(self) -> Revision:
        """0 if nothing was ever compacted."""
        ...

    def session(self, client_id: bytes) -> Session | None: ...

    def put_session(self, client_id: bytes, session: Session) -> None: ...

    def delete_session(self, client_id: bytes) -> None:
        """Forgets the client and all its results."""
        ...

    def oldest_sessions(self, limit: int) -> list[tuple[int, bytes]]:
        """(last_used_ms, client_id) of the longest idle clients, oldest first, at most `limit`."""
        ...

    def may_be_idle_since(self, time_ms: int) -> bool:
        """False only if every client was last used at or after `time_ms`. Cheap, for every entry."""
        ...

    def session_count(self) -> int: ...

    def results_between(self, client_id: bytes, low: int, high: int) -> Sequence[tuple[int, KeptResult]]:
        """(first sequence, result) of the batches that begin in [low, high), ascending."""
        ...

    def put_result(self, client_id: bytes, first_sequence: int, result: KeptResult) -> None: ...

    def delete_result(self, client_id: bytes, first_sequence: int) -> None: ...

    @property
    def limits(self) -> FormatLimits:
        """Those of the store's number; the same on every node."""
        ...

    @property
    def revision(self) -> Revision:
        """Newest revision."""
        ...

    @property
    def live_keys(self) -> int: ...

    @property
    def applied_index(self) -> LogIndex: ...

    @property
    def time_ms(self) -> int:
        """Log time of the last batch applied."""
        ...

    @property
    def rolling_hash(self) -> bytes: ...

    def set_membership(self, membership: store_pb2.Membership) -> None:
        """Who belongs to the group from now on."""
        ...

    def set_timing(self, timing: store_pb2.Timing) -> None:
        """The group's timers from now on."""
        ...

    def set_position(
        self, *, applied_index: LogIndex, revision: Revision, live_keys: int, time_ms: int, rolling_hash: bytes
    ) -> None:
        """Moves the store's watermarks, all at once, after a log entry is applied."""
        ...
