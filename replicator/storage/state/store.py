"""The state machine's store over one LMDB write transaction.

Watermarks and session records live here while the transaction does and are written once, by `flush`. So nothing is
stored before `flush`, and the object is of no use after its transaction.
"""

from replicator.model.ids import LogIndex, Revision
from replicator.storage.layout import (
    HEADER_KEY,
    MEMBERSHIP_KEY,
    TIMING_KEY,
    Databases,
    Header,
    Transaction,
    pack_idle_key,
    pack_number,
    pack_result_key,
    unpack_idle_key,
    unpack_number,
)
from replicator.v1 import store_pb2

_PRESENT = b"\x00"  # the idle index is a set; lmdb wants some value


class LmdbStore:
    """Implements machine.store_port.StorePort."""

    __slots__ = (
        "_applied_index", "_by_key", "_databases", "_live_keys", "_revision", "_rolling_hash", "_session_count",
        "_sessions", "_time_ms", "_txn",
    )  # fmt: skip

    def __init__(self, txn: Transaction, databases: Databases) -> None:
        header = Header.load(txn, databases)
        self._txn = txn
        self._databases = databases
        self._by_key = txn.cursor(db=databases.by_key)
        self._applied_index = header.applied_index
        self._revision = header.revision
        self._live_keys = header.live_keys
        self._time_ms = header.time_ms
        self._rolling_hash = header.rolling_hash
        self._session_count = header.session_count
        # As the database will hold them, with the last use that `idle` holds; None: forgotten.
        self._sessions: dict[bytes, tuple[store_pb2.SessionRecord, int] | None] = {}

    def flush(self) -> Header:
        """Writes what is still only here; the header as written. To be called once, before the commit."""
        for client_id, held in self._sessions.items():
            if held is not None:
                self._txn.put(client_id, held[0].SerializeToString(), db=self._databases.sessions)
        header = Header(
            applied_index=self._applied_index,
            revision=self._revision,
            live_keys=self._live_keys,
            time_ms=self._time_ms,
            session_count=self._session_count,
            rolling_hash=self._rolling_hash,
        )
        self._txn.put(HEADER_KEY, header.pack(), db=self._databases.meta)
        return header

    # The group

    def set_membership(self, membership: store_pb2.Membership) -> None:
        self._txn.put(MEMBERSHIP_KEY, membership.SerializeToString(), db=self._databases.meta)

    def set_timing(self, timing: store_pb2.Timing) -> None:
        self._txn.put(TIMING_KEY, timing.SerializeToString(), db=self._databases.meta)

    # Keys and events

    def latest(self, key: bytes) -> tuple[Revision, store_pb2.StoredEvent] | None:
        if not self._by_key.set_key(key):
            return None
        self._by_key.last_dup()
        revision = Revision(unpack_number(self._by_key.value()))
        event = self.event_at(revision)
        assert event is not None, f"revision {revision} has no event"
        return revision, event

    def event_at(self, revision: Revision) -> store_pb2.StoredEvent | None:
        data = self._txn.get(pack_number(revision), db=self._databases.events)
        return None if data is None else store_pb2.StoredEvent.FromString(data)

    def put_event(self, revision: Revision, event: store_pb2.StoredEvent) -> None:
        number = pack_number(revision)
        added = self._txn.put(number, event.SerializeToString(), append=True, db=self._databases.events)
        assert added, f"revision {revision} is not the newest"
        self._txn.put(event.key, number, db=self._databases.by_key)

    # Sessions

    def session(self, client_id: bytes) -> store_pb2.SessionRecord | None:
        if client_id in self._sessions:
            held = self._sessions[client_id]
            return None if held is None else held[0]
        data = self._txn.get(client_id, db=self._databases.sessions)
        if data is None:
            return None
        record = store_pb2.SessionRecord.FromString(data)
        self._sessions[client_id] = (record, record.last_used_ms)
        return record

    def put_session(self, client_id: bytes, record: store_pb2.SessionRecord) -> None:
        known = self.session(client_id) is not None
        held = self._sessions.get(client_id)
        indexed_ms = held[1] if held is not None else None
        assert known == (indexed_ms is not None)
        if indexed_ms != record.last_used_ms:
            if indexed_ms is None:
                self._session_count += 1
            else:
                self._txn.delete(pack_idle_key(indexed_ms, client_id), db=self._databases.idle)
            self._txn.put(pack_idle_key(record.last_used_ms, client_id), _PRESENT, db=self._databases.idle)
        self._sessions[client_id] = (record, record.last_used_ms)

    def delete_session(self, client_id: bytes) -> None:
        if self.session(client_id) is None:
            return
        held = self._sessions[client_id]
        assert held is not None
        self._txn.delete(pack_idle_key(held[1], client_id), db=self._databases.idle)
        self._txn.delete(client_id, db=self._databases.sessions)
        self._delete_results(client_id, None)
        self._sessions[client_id] = None
        self._session_count -= 1

    def oldest_sessions(self, limit: int) -> list[tuple[int, bytes]]:
        oldest: list[tuple[int, bytes]] = []
        with self._txn.cursor(db=self._databases.idle) as cursor:
            found = cursor.first()
            while found and len(oldest) < limit:
                oldest.append(unpack_idle_key(cursor.key()))
                found = cursor.next()
        return oldest

    def session_count(self) -> int:
        return self._session_count

    def result(self, client_id: bytes, sequence: int) -> store_pb2.StoredResult | None:
        data = self._txn.get(pack_result_key(client_id, sequence), db=self._databases.results)
        return None if data is None else store_pb2.StoredResult.FromString(data)

    def put_result(self, client_id: bytes, sequence: int, result: store_pb2.StoredResult) -> None:
        self._txn.put(pack_result_key(client_id, sequence), result.SerializeToString(), db=self._databases.results)

    def drop_results(self, client_id: bytes, below: int) -> int:
        return self._delete_results(client_id, below)

    def _delete_results(self, client_id: bytes, below: int | None) -> int:
        """All results of the client if `below` is None. The end is a prefix test, as sequences fill all 8 bytes."""
        limit = None if below is None else pack_result_key(client_id, below)
        deleted = 0
        with self._txn.cursor(db=self._databases.results) as cursor:
            found = cursor.set_range(client_id)
            while found and cursor.key().startswith(client_id) and (limit is None or cursor.key() < limit):
                cursor.delete()
                deleted += 1
                found = bool(cursor.key())
        return deleted

    # Watermarks

    @property
    def revision(self) -> Revision:
        return self._revision

    @property
    def live_keys(self) -> int:
        return self._live_keys

    @property
    def applied_index(self) -> LogIndex:
        return self._applied_index

    @property
    def time_ms(self) -> int:
        return self._time_ms

    @property
    def rolling_hash(self) -> bytes:
        return self._rolling_hash

    def set_position(
        self, *, applied_index: LogIndex, revision: Revision, live_keys: int, time_ms: int, rolling_hash: bytes
    ) -> None:
        assert applied_index == self._applied_index + 1
        self._applied_index = applied_index
        self._revision = revision
        self._live_keys = live_keys
        self._time_ms = time_ms
        self._rolling_hash = rolling_hash
        added = self._txn.put(pack_number(applied_index), rolling_hash, append=True, db=self._databases.digests)
        assert added, f"index {applied_index} is not the newest"
