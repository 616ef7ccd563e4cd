"""The state machine's store over dicts, with the reads that use cases ask of a replica."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replicator.machine.digest import state_hash
from replicator.model.changes import StoredChange
from replicator.model.ids import LogIndex, Revision
from replicator.model.values import KeyValue, PairColumns
from replicator.storage.state.history import ChangesPage, RecentChanges
from tests.support.memory_store import MemoryStore


@dataclass(frozen=True)
class MemoryPage:
    kvs: tuple[KeyValue, ...]
    revision: Revision
    applied_index: LogIndex
    more: bool
    last_key: bytes | None


@dataclass(frozen=True)
class MemoryPosition:
    applied_index: LogIndex
    revision: Revision
    live_keys: int
    time_ms: int
    rolling_hash: bytes


class MemoryReplica(MemoryStore):
    """The state machine's store with the reads of service.ports.StoreReads on top."""

    def get(self, key: bytes) -> tuple[KeyValue | None, Revision, LogIndex]:
        found = next((kv for kv in self._live_at(self.revision) if kv.key == key), None)
        return found, self.revision, self.applied_index

    def get_many(self, keys: Sequence[bytes], *, bytes_max: int) -> tuple[PairColumns, Revision, LogIndex]:
        columns, held_bytes = PairColumns(), 0
        for key in keys:
            kv = self.get(key)[0] or KeyValue(key, b"", 0, 0, 0)
            held_bytes += len(kv.value)
            if held_bytes > bytes_max and columns.values:
                break
            columns.values.append(kv.value)
            columns.create_revisions.append(kv.create_revision)
            columns.mod_revisions.append(kv.mod_revision)
            columns.versions.append(kv.version)
        return columns, self.revision, self.applied_index

    def scan(
        self,
        start: bytes,
        end: bytes,
        *,
        at_revision: Revision | None,
        after_key: bytes | None,
        keys_max: int,
        bytes_max: int,
    ) -> MemoryPage:
        revision = self.revision if at_revision is None else min(at_revision, self.revision)
        wanted = [
            kv
            for kv in self._live_at(revision)
            if kv.key >= start and (not end or kv.key < end) and (after_key is None or kv.key > after_key)
        ]
        page: list[KeyValue] = []
        for kv in wanted[:keys_max]:
            if sum(len(held.key) + len(held.value) for held in page) >= bytes_max:
                break
            page.append(kv)
        last_key = page[-1].key if page else None
        return MemoryPage(tuple(page), revision, self.applied_index, len(page) < len(wanted), last_key)

    def recent_changes(self, first: Revision, *, count_max: int) -> RecentChanges | None:
        found: list[tuple[StoredChange, ...]] = []
        revision = int(first)
        while revision <= self.revision and sum(map(len, found)) < count_max:
            found.append(tuple(self._change(number) for number in sorted(self.events) if number[0] == revision))
            revision += 1
        return RecentChanges(tuple(found), Revision(revision - 1), self.applied_index)

    def previous_pair(self, change: StoredChange) -> KeyValue | None:
        before = self.events.get(change.superseded)
        if before is None or before.deleted or change.revision <= self.compacted_revision:
            return None
        return KeyValue(before.key, before.value, before.record[2], before.record[0], before.record[3])

    def changes(
        self,
        first: tuple[int, int],
        wants: Callable[[bytes, bool], bool],
        *,
        with_previous: bool,
        examined_max: int,
        bytes_max: int,
    ) -> ChangesPage:
        """A revision is one step here, however many changes it has."""
        wanted: list[StoredChange] = []
        number = first[0]
        while number <= min(self.revision, first[0] + examined_max):
            if sum(change.size_bytes for change in wanted) >= bytes_max:
                break
            for change in map(self._change, sorted(each for each in self.events if each[0] == number)):
                if wants(change.key, change.is_delete):
                    if with_previous:
                        change.previous, change.has_previous = self.previous_pair(change), True
                    wanted.append(change)
            number += 1
        return ChangesPage(tuple(wanted), (number, 0), self.revision, self.applied_index)

    def _change(self, number: tuple[int, int]) -> StoredChange:
        event = self.events[number]
        older = [held for held in self.revisions[event.key] if held < number]
        return StoredChange(
            Revision(number[0]), number[1], event.key, event.value, event.record[2], event.record[3], event.time_ms,
            event.deleted, older[-1] if older else (0, 0),
        )  # fmt: skip

    @property
    def applied_position(self) -> MemoryPosition:
        return MemoryPosition(self.applied_index, self.revision, self.live_keys, self.time_ms, self.rolling_hash)

    def state_hash(self) -> tuple[str, LogIndex]:
        return state_hash(self.pairs_at(self.revision)), self.applied_index

    def data_bytes(self) -> int:
        return sum(len(event.key) + len(event.value) for event in self.events.values())

    def _live_at(self, revision: int) -> list[KeyValue]:
        return [KeyValue(*pair) for pair in self.pairs_at(revision)]
