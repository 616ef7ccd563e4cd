"""The store as the state machine sees it: one write transaction that reads its own writes."""

from typing import Protocol

from replicator.model.ids import LogIndex, Revision
from replicator.v1 import store_pb2


class StorePort(Protocol):
    """Implemented over LMDB by `storage/`, over a dict in tests. All calls are within one transaction."""

    def latest(self, key: bytes) -> tuple[Revision, store_pb2.StoredEvent] | None:
        """Newest event of the key, deletions included; None if the key was never written."""
        ...

    def event_at(self, revision: Revision) -> store_pb2.StoredEvent | None:
        """The event that made `revision`; None if it is not held."""
        ...

    def put_event(self, revision: Revision, event: store_pb2.StoredEvent) -> None:
        """Records the one change of a revision and points its key at it."""
        ...

    def session(self, client_id: bytes) -> store_pb2.SessionRecord | None: ...

    def put_session(self, client_id: bytes, record: store_pb2.SessionRecord) -> None: ...

    def delete_session(self, client_id: bytes) -> None:
        """Forgets the client and all its results."""
        ...

    def oldest_sessions(self, limit: int) -> list[tuple[int, bytes]]:
        """(last_used_ms, client_id) of the longest idle clients, oldest first, at most `limit`."""
        ...

    def session_count(self) -> int: ...

    def result(self, client_id: bytes, sequence: int) -> store_pb2.StoredResult | None: ...

    def put_result(self, client_id: bytes, sequence: int, result: store_pb2.StoredResult) -> None: ...

    def drop_results(self, client_id: bytes, below: int) -> int:
        """Forgets results of sequences under `below`; how many there were."""
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
