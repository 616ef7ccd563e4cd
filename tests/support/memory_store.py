"""The state machine's store over plain dicts: what the one over LMDB must agree with."""

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace as replaced
from itertools import groupby

from replicator.machine.digest import GENESIS_HASH, Pair
from replicator.machine.store_port import DELETED, KeptResult, Record, Session
from replicator.model.ids import LogIndex, Revision
from replicator.model.limits import FORMAT_LIMITS, FORMAT_LIMITS_NUMBER, FormatLimits
from replicator.storage.state.keys import STEM_BYTES, first_stored, group_of, is_long, stored_key, whole_key
from replicator.v1 import store_pb2

Number = tuple[int, int]  # of a change: main, sub


@dataclass(frozen=True)
class Event:
    """One change as it is remembered."""

    key: bytes
    value: bytes
    record: Record
    time_ms: int

    @property
    def deleted(self) -> bool:
        return bool(self.record[5] & DELETED)


class MemoryStore:
    """Implements machine.store_port.StorePort. Keeps every change for ever."""

    def __init__(self) -> None:
        self.events: dict[Number, Event] = {}
        self.revisions: dict[bytes, list[Number]] = {}
        self.sessions: dict[bytes, Session] = {}
        self.results: dict[tuple[bytes, int], KeptResult] = {}
        self.digests: dict[int, bytes] = {}
        self.limits: FormatLimits = FORMAT_LIMITS[FORMAT_LIMITS_NUMBER]
        self._compacted = Revision(0)
        self._applied_index = LogIndex(0)
        self._revision = Revision(0)
        self._live_keys = 0
        self._time_ms = 0
        self._rolling_hash = GENESIS_HASH
        self.membership: store_pb2.Membership | None = None
        self.timing: store_pb2.Timing | None = None

    def limit(self, **limits: int) -> None:
        """Other limits than those of the format."""
        self.limits = replaced(self.limits, **limits)

    def find(self, key: bytes) -> Record | None:
        numbers = self.revisions.get(key)
        return self.events[numbers[-1]].record if numbers else None

    def value_of(self, key: bytes, record: Record) -> bytes:
        event = self.events[record[0], record[1]]
        assert event.key == key
        return event.value

    def walk(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, Record]]:
        """In the order in which keys are stored, and long keys a stem at a time, as LMDB has them."""
        stored = sorted((stored_key(key), key) for key in self.revisions)
        for stem, some in groupby(stored, lambda item: item[0][:STEM_BYTES] if is_long(item[0]) else b""):
            names = [key for _, key in some]
            if stem and first_stored(start) <= group_of(stem)[1] and (not end or whole_key(stem) < end):
                yield from ((b"", self.record_of(key)) for key in names)
            yield from ((key, self.record_of(key)) for key in sorted(names) if start <= key and (not end or key < end))

    def record_of(self, key: bytes) -> Record:
        return self.events[self.revisions[key][-1]].record

    def put_change(self, key: bytes, value: bytes, new: Record, old: Record | None, time_ms: int) -> None:
        main, sub = max(self.events, default=(0, 0))
        assert new[:2] in ((main + 1, 0), (main, sub + 1)), "numbers have no gap"
        assert old == self.find(key)
        self.events[new[0], new[1]] = Event(key, value, new, time_ms)
        self.revisions.setdefault(key, []).append((new[0], new[1]))

    def set_compacted(self, revision: Revision) -> None:
        self._compacted = revision

    def delete_old_tombstones(self) -> None:
        """What compaction may have done on one node, and not on another: deletions before the compacted revision go."""
        for key in list(self.revisions):
            record = self.record_of(key)
            if record[5] & DELETED and record[0] < self._compacted:
                del self.revisions[key]

    @property
    def compacted_revision(self) -> Revision:
        return self._compacted

    def set_membership(self, membership: store_pb2.Membership) -> None:
        self.membership = membership

    def set_timing(self, timing: store_pb2.Timing) -> None:
        self.timing = timing

    def session(self, client_id: bytes) -> Session | None:
        return self.sessions.get(client_id)

    def put_session(self, client_id: bytes, session: Session) -> None:
        self.sessions[client_id] = session

    def delete_session(self, client_id: bytes) -> None:
        self.sessions.pop(client_id, None)
        for held in [held for held in self.results if held[0] == client_id]:
            del self.results[held]

    def oldest_sessions(self, limit: int) -> list[tuple[int, bytes]]:
        return sorted((session.last_used_ms, client_id) for client_id, session in self.sessions.items())[:limit]

    def may_be_idle_since(self, time_ms: int) -> bool:
        return any(session.last_used_ms < time_ms for session in self.sessions.values())

    def session_count(self) -> int:
        return len(self.sessions)

    def results_between(self, client_id: bytes, low: int, high: int) -> list[tuple[int, KeptResult]]:
        return sorted(
            (first, kept)
            for (holder, first), kept in self.results.items()
            if holder == client_id and low <= first < high
        )

    def put_result(self, client_id: bytes, first_sequence: int, result: KeptResult) -> None:
        assert (client_id, first_sequence) not in self.results
        self.results[client_id, first_sequence] = result

    def delete_result(self, client_id: bytes, first_sequence: int) -> None:
        del self.results[client_id, first_sequence]

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
            numbers = [number for number in self.revisions[key] if number[0] <= revision]
            if numbers and not self.events[numbers[-1]].deleted:
                event = self.events[numbers[-1]]
                pairs.append((key, event.value, event.record[2], numbers[-1][0], event.record[3]))
        return pairs
