"""The state machine's store over plain dicts: what the LMDB one must agree with."""

from bisect import bisect_right

from replicator.machine.digest import GENESIS_HASH, Pair
from replicator.model.ids import LogIndex, Revision
from replicator.v1 import store_pb2


def _copied(record: store_pb2.SessionRecord) -> store_pb2.SessionRecord:
    copy = store_pb2.SessionRecord()
    copy.CopyFrom(record)
    return copy


class MemoryStore:
    """Implements machine.store_port.StorePort. Hands out copies, so that a change which is not put is lost."""

    def __init__(self) -> None:
        self.events: dict[int, store_pb2.StoredEvent] = {}
        self.revisions: dict[bytes, list[int]] = {}
        self.sessions: dict[bytes, store_pb2.SessionRecord] = {}
        self.results: dict[tuple[bytes, int], bytes] = {}
        self.digests: dict[int, bytes] = {}
        self._applied_index = LogIndex(0)
        self._revision = Revision(0)
        self._live_keys = 0
        self._time_ms = 0
        self._rolling_hash = GENESIS_HASH
        self.membership: store_pb2.Membership | None = None
        self.timing: store_pb2.Timing | None = None

    def latest(self, key: bytes) -> tuple[Revision, store_pb2.StoredEvent] | None:
        numbers = self.revisions.get(key)
        return (Revision(numbers[-1]), self.events[numbers[-1]]) if numbers else None

    def event_at(self, revision: Revision) -> store_pb2.StoredEvent | None:
        return self.events.get(revision)

    def put_event(self, revision: Revision, event: store_pb2.StoredEvent) -> None:
        assert revision == len(self.events) + 1
        self.events[revision] = event
        self.revisions.setdefault(event.key, []).append(revision)

    def set_membership(self, membership: store_pb2.Membership) -> None:
        self.membership = membership

    def set_timing(self, timing: store_pb2.Timing) -> None:
        self.timing = timing

    def session(self, client_id: bytes) -> store_pb2.SessionRecord | None:
        record = self.sessions.get(client_id)
        return None if record is None else _copied(record)

    def put_session(self, client_id: bytes, record: store_pb2.SessionRecord) -> None:
        self.sessions[client_id] = _copied(record)

    def delete_session(self, client_id: bytes) -> None:
        self.sessions.pop(client_id, None)
        for held in [held for held in self.results if held[0] == client_id]:
            del self.results[held]

    def oldest_sessions(self, limit: int) -> list[tuple[int, bytes]]:
        return sorted((record.last_used_ms, client_id) for client_id, record in self.sessions.items())[:limit]

    def session_count(self) -> int:
        return len(self.sessions)

    def result(self, client_id: bytes, sequence: int) -> store_pb2.StoredResult | None:
        data = self.results.get((client_id, sequence))
        return None if data is None else store_pb2.StoredResult.FromString(data)

    def put_result(self, client_id: bytes, sequence: int, result: store_pb2.StoredResult) -> None:
        self.results[client_id, sequence] = result.SerializeToString()

    def drop_results(self, client_id: bytes, below: int) -> int:
        dropped = [held for held in self.results if held[0] == client_id and held[1] < below]
        for held in dropped:
            del self.results[held]
        return len(dropped)

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
        self._applied_index = applied_index
        self._revision = revision
        self._live_keys = live_keys
        self._time_ms = time_ms
        self._rolling_hash = rolling_hash
        self.digests[applied_index] = rolling_hash

    def pairs_at(self, revision: int) -> list[Pair]:
        """All live pairs in key order as of a revision, by looking at everything."""
        pairs: list[Pair] = []
        for key in sorted(self.revisions):
            numbers = self.revisions[key]
            place = bisect_right(numbers, revision)
            if place and not self.events[numbers[place - 1]].deleted:
                event = self.events[numbers[place - 1]]
                pairs.append((key, event.value, event.create_revision, numbers[place - 1], event.version))
        return pairs
