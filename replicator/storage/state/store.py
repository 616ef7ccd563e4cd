"""The state machine's store: an open layer that takes changes, over older layers, over one LMDB transaction.

Nothing is written to LMDB here: `flush` does that with whole layers. So a read transaction is enough.
"""

from collections.abc import Iterator
from zlib import crc32

from replicator.machine.store_port import DELETED, KeptResult, Record, Session
from replicator.model.ids import LogIndex, Revision
from replicator.model.limits import FORMAT_LIMITS, FormatLimits
from replicator.storage.layout import (
    MEMBERSHIP_KEY,
    TIMING_KEY,
    Databases,
    Header,
    Transaction,
    pack_number,
)
from replicator.storage.state.keys import (
    STEM_BYTES,
    first_stored,
    group_of,
    is_long,
    stored_key,
    superseded_prefix,
    whole_key,
)
from replicator.storage.state.layers import Layer, OrderedIndex, from_key
from replicator.storage.state.records import (
    DELETION,
    VALUE,
    Change,
    first_sequence_of,
    pack_change_head,
    pack_checksum,
    pack_idle_key,
    pack_record,
    pack_result,
    pack_result_key,
    pack_revision,
    pack_session,
    unpack_change,
    unpack_idle_key,
    unpack_record,
    unpack_result,
    unpack_session,
)
from replicator.v1 import store_pb2

_PRESENT = b""  # what a set holds for a member
_NO_SESSION: Session | None = None


class LayeredStore:
    """Implements machine.store_port.StorePort. Of use as long as its transaction."""

    def __init__(
        self, txn: Transaction, databases: Databases, open_layer: Layer, older: tuple[Layer, ...] = ()
    ) -> None:
        header = open_layer.header
        self._txn, self._databases = txn, databases
        self._open = open_layer
        self._older = older
        self._key = self._stored = b""  # what `find` was asked for last; a write is of the same key
        self._client_id, self._session = b"", _NO_SESSION  # whom `session` was asked for last
        self._stored_record = txn.cursor(db=databases.index).get
        self._session_count = header.session_count
        self._compacted = header.compacted_revision
        self.limits: FormatLimits = FORMAT_LIMITS[header.limits]

    # The group

    def set_membership(self, membership: store_pb2.Membership) -> None:
        self._open.meta[MEMBERSHIP_KEY] = membership.SerializeToString()

    def set_timing(self, timing: store_pb2.Timing) -> None:
        self._open.meta[TIMING_KEY] = timing.SerializeToString()

    # Keys and changes

    def find(self, key: bytes) -> Record | None:
        self._key, self._stored = key, stored_key(key)
        data = self._open.index.get(self._stored) or self._older_record(self._stored)
        return None if data is None else unpack_record(data)

    def _older_record(self, stored: bytes) -> bytes | None:
        for layer in self._older:
            data = layer.index.get(stored)
            if data is not None:
                return data
        return self._stored_record(stored)

    def value_of(self, key: bytes, record: Record) -> bytes:
        change = self._change_at(pack_revision(record[0], record[1]))
        assert change.key == key, f"revision {record[0]} is of another key"
        return change.value

    def _change_at(self, number: bytes) -> Change:
        for layer in (self._open, *self._older):
            data = layer.changes.get(number)
            if data is not None:
                return unpack_change(number, data)
        return unpack_change(number, self._txn.get(number, db=self._databases.changes))

    def walk(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, Record]]:
        layers = tuple(layer.ordered_index for layer in (self._open, *self._older))
        with self._txn.cursor(db=self._databases.index) as cursor:
            position: bytes | None = first_stored(start)
            while position is not None:
                resume = None
                for stored, data in from_key(layers, cursor, position):
                    is_group = is_long(stored)
                    key = whole_key(stored[:STEM_BYTES])  # of a long one, what all of its group begin with
                    if end and key >= end:
                        return
                    if is_group:
                        resume = group_of(stored)[1]
                        yield from self._long_keys(layers, group_of(stored), start, end)
                        break
                    if key >= start:
                        yield key, unpack_record(data)
                position = resume

    def _long_keys(
        self, layers: tuple[OrderedIndex, ...], group: tuple[bytes, bytes], start: bytes, end: bytes
    ) -> Iterator[tuple[bytes, Record]]:
        """Those of one stem, in the order of their whole keys. To know these, all of them are looked at."""
        found: list[tuple[bytes, Record]] = []
        with self._txn.cursor(db=self._databases.index) as cursor:
            for stored, data in from_key(layers, cursor, group[0]):
                if stored >= group[1]:
                    break
                record = unpack_record(data)
                yield b"", record
                key = self._change_at(pack_revision(record[0], record[1])).key
                if key >= start and (not end or key < end):
                    found.append((key, record))
        yield from sorted(found)

    def put_change(self, key: bytes, value: bytes, new: Record, old: Record | None, time_ms: int) -> None:
        stored = self._stored if key is self._key else stored_key(key)
        number = pack_revision(new[0], new[1])
        main = sub = 0
        if old is not None:
            main, sub = old[0], old[1]
            mark = DELETION if old[5] & DELETED else VALUE
            self._open.superseded.append((superseded_prefix(stored) + pack_revision(main, sub), mark))
        head = pack_change_head(new[2], new[3], new[4], time_ms, new[5], main, sub, len(key))
        body = head + key + value
        self._open.changes[number] = pack_checksum(crc32(body, crc32(number))) + body
        self._open.index[stored] = pack_record(*new)

    def set_compacted(self, revision: Revision) -> None:
        self._compacted = revision

    @property
    def compacted_revision(self) -> Revision:
        return self._compacted

    # Sessions

    def session(self, client_id: bytes) -> Session | None:
        if client_id == self._client_id:
            return self._session
        for layer in (self._open, *self._older):
            if client_id in layer.sessions:
                data = layer.sessions[client_id]
                break
        else:
            data = self._txn.get(client_id, db=self._databases.sessions)
        self._client_id, self._session = client_id, None if data is None else unpack_session(data)
        return self._session

    def put_session(self, client_id: bytes, session: Session) -> None:
        known = self.session(client_id)
        if known is None or known.last_used_ms != session.last_used_ms:
            if known is None:
                self._session_count += 1
            else:
                self._open.idle.put(pack_idle_key(known.last_used_ms, client_id), None)
            self._open.idle.put(pack_idle_key(session.last_used_ms, client_id), _PRESENT)
        self._open.sessions[client_id] = pack_session(session)
        self._session = session

    def delete_session(self, client_id: bytes) -> None:
        session = self.session(client_id)
        if session is None:
            return
        self._open.idle.put(pack_idle_key(session.last_used_ms, client_id), None)
        self._open.sessions[client_id] = None
        for first_sequence, _ in self.results_between(client_id, session.floor, session.next_sequence):
            self.delete_result(client_id, first_sequence)
        self._session_count -= 1
        self._session = None

    def oldest_sessions(self, limit: int) -> list[tuple[int, bytes]]:
        oldest: list[tuple[int, bytes]] = []
        layers = tuple(layer.idle for layer in (self._open, *self._older))
        with self._txn.cursor(db=self._databases.idle) as cursor:
            for key, _ in from_key(layers, cursor, b""):
                oldest.append(unpack_idle_key(key))
                if len(oldest) == limit:
                    break
        return oldest

    def may_be_idle_since(self, time_ms: int) -> bool:
        if self._session_count and self._open.oldest_ms < time_ms:
            self._open.oldest_ms = self.oldest_sessions(1)[0][0]
        return bool(self._session_count) and self._open.oldest_ms < time_ms

    def session_count(self) -> int:
        return self._session_count

    def results_between(self, client_id: bytes, low: int, high: int) -> list[tuple[int, KeptResult]]:
        results: list[tuple[int, KeptResult]] = []
        end = pack_result_key(client_id, high)
        layers = tuple(layer.results for layer in (self._open, *self._older))
        with self._txn.cursor(db=self._databases.results) as cursor:
            for key, value in from_key(layers, cursor, pack_result_key(client_id, low)):
                if key >= end:
                    break
                results.append((first_sequence_of(key), unpack_result(value)))
        return results

    def put_result(self, client_id: bytes, first_sequence: int, result: KeptResult) -> None:
        packed = pack_result(result)
        self._open.size_bytes += len(packed)  # what a short command reads may be long
        self._open.results.put(pack_result_key(client_id, first_sequence), packed)

    def delete_result(self, client_id: bytes, first_sequence: int) -> None:
        self._open.results.put(pack_result_key(client_id, first_sequence), None)

    # Watermarks

    @property
    def revision(self) -> Revision:
        return self._open.header.revision

    @property
    def live_keys(self) -> int:
        return self._open.header.live_keys

    @property
    def applied_index(self) -> LogIndex:
        return self._open.header.applied_index

    @property
    def time_ms(self) -> int:
        return self._open.header.time_ms

    @property
    def rolling_hash(self) -> bytes:
        return self._open.header.rolling_hash

    def set_position(
        self, *, applied_index: LogIndex, revision: Revision, live_keys: int, time_ms: int, rolling_hash: bytes
    ) -> None:
        before = self._open.header
        assert applied_index == before.applied_index + 1
        self._open.header = Header(
            applied_index=applied_index,
            revision=revision,
            live_keys=live_keys,
            time_ms=time_ms,
            session_count=self._session_count,
            compacted_revision=self._compacted,
            limits=before.limits,
            rolling_hash=rolling_hash,
        )
        self._open.digests[pack_number(applied_index)] = rolling_hash
