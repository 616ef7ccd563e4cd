"""A replica as the change feed sees it: changes in memory and on disk, entries that arrive, compaction, snapshots.

Satisfies service.ports.FeedReads, and what a watch uses of EnginePort. Revisions hold any number of changes.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from replicator.model.changes import Change, StoredChange
from replicator.model.errors import Compacted, ReplicaBehind
from replicator.model.ids import LogIndex, Revision
from replicator.model.values import KeyValue
from replicator.storage.reading import Position
from replicator.storage.state.history import ChangesPage, RecentChanges
from tests.support.members import FOUNDER


@dataclass(frozen=True)
class Write:
    """A key, and its new value; None to delete it."""

    key: bytes
    value: bytes | None


@dataclass
class FeedLog:
    """The one history that all replicas follow: revision -> its changes. Index and revision are the same number."""

    revisions: list[tuple[StoredChange, ...]] = field(default_factory=list)
    newest: dict[bytes, StoredChange] = field(default_factory=dict)

    def write(self, *writes: Write) -> int:
        """Changes that share a revision; each of another key."""
        revision = len(self.revisions) + 1
        whole = [self._changed(revision, position, write) for position, write in enumerate(writes)]
        for change in whole:
            self.newest[change.key] = change
        self.revisions.append(tuple(whole))
        return revision

    def _changed(self, revision: int, position: int, write: Write) -> StoredChange:
        old = self.newest.get(write.key)
        at = (0, 0) if old is None else (old.revision, old.position)
        is_new = old is None or old.is_delete
        create, version = (revision, 1) if is_new or old is None else (old.create_revision, old.version + 1)
        if write.value is None:
            create = version = 0
        return StoredChange(
            Revision(revision), position, write.key, write.value or b"", create, version, revision,
            write.value is None, at,
        )  # fmt: skip

    def truth(self) -> list[Change]:
        """All of it, as a watcher is to see it (without previous pairs)."""
        return [shown(change) for whole in self.revisions for change in whole]


def shown(change: StoredChange) -> Change:
    value = None if change.is_delete else change.value
    numbers = (change.revision, change.position, change.create_revision, change.version, change.time_ms)
    return Change(change.kind, change.key, value, *numbers, previous=change.previous)


class FeedReplica:
    """One node. applied: how far it has got. stored: what of it the data file holds."""

    def __init__(self, log: FeedLog) -> None:
        self.log = log
        self.applied = self.stored = 0
        self.compacted_revision = Revision(0)
        self.founder = FOUNDER
        self.flushes = 0
        self._listeners: list[Callable[[], None]] = []
        self._moved = asyncio.Event()

    # What happens to it

    def apply(self, revision: int | None = None) -> None:
        """Up to that revision; to the newest if none is named."""
        self.applied = len(self.log.revisions) if revision is None else max(self.applied, revision)
        self._tell()

    def flush(self) -> None:
        self.stored = self.applied

    def install(self) -> None:
        """A snapshot of the newest state takes the place of what it had: memory holds nothing of it."""
        self.applied = self.stored = len(self.log.revisions)
        self._tell()

    def compact(self, revision: int) -> None:
        self.compacted_revision = Revision(max(self.compacted_revision, min(revision, self.applied)))

    def _tell(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        for listener in self._listeners:
            listener()

    # FeedReads

    @property
    def applied_position(self) -> Position:
        return Position(LogIndex(self.applied), Revision(self.applied), 0, 0, b"")

    def recent_changes(self, first: Revision, *, count_max: int) -> RecentChanges | None:
        if first <= self.stored and first <= self.applied:
            return None
        found: list[tuple[StoredChange, ...]] = []
        for whole in self.log.revisions[first - 1 : self.applied]:
            if sum(map(len, found)) >= count_max:
                break
            found.append(tuple(replace(change, encoded={}) for change in whole))
        return RecentChanges(tuple(found), Revision(first - 1 + len(found)), LogIndex(self.applied))

    def previous_pair(self, change: StoredChange) -> KeyValue | None:
        if change.superseded == (0, 0) or change.revision <= self.compacted_revision:
            return None
        main, position = change.superseded
        before = self.log.revisions[main - 1][position]
        if before.is_delete:
            return None
        return KeyValue(before.key, before.value, before.create_revision, main, before.version)

    def changes(
        self,
        first: tuple[int, int],
        wants: Callable[[bytes, bool], bool],
        *,
        with_previous: bool,
        examined_max: int,
        bytes_max: int,
    ) -> ChangesPage:
        if first[0] < self.compacted_revision:
            raise Compacted("forgotten", metadata={"compacted_revision": str(self.compacted_revision)})
        stored = self.stored
        kept: list[StoredChange] = []
        following, size_bytes = first, 0
        for number in range(first[0], stored + 1):
            whole = self.log.revisions[number - 1]
            rest = whole[following[1] :] if number == first[0] else whole
            wanted = [replace(change, encoded={}) for change in rest if wants(change.key, change.is_delete)]
            if (kept and size_bytes + sum(c.size_bytes for c in wanted) > bytes_max) or examined_max <= 0:
                break
            if len(rest) > examined_max and number == first[0]:
                part = rest[:examined_max]
                kept = [c for c in part if wants(c.key, c.is_delete)]
                following = (number, part[-1].position + 1)
                break
            if with_previous:
                for change in wanted:
                    change.previous, change.has_previous = self.previous_pair(change), True
            kept += wanted
            size_bytes += sum(change.size_bytes for change in wanted)
            examined_max -= len(rest)
            following = (number + 1, 0)
        return ChangesPage(tuple(kept), following, Revision(stored), LogIndex(stored))

    # Of EnginePort

    def listen_applied(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    async def wait_stored(self, *, timeout_s: float) -> None:
        self.flushes += 1
        await asyncio.sleep(0)
        self.flush()

    async def wait_applied(self, index: LogIndex, *, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while self.applied < index:
                    await self._moved.wait()
        except TimeoutError:
            raise ReplicaBehind(f"applied {self.applied}, wanted {index}") from None

    @property
    def applied_index(self) -> LogIndex:
        return LogIndex(self.applied)

    @property
    def known_commit_index(self) -> LogIndex:
        return LogIndex(len(self.log.revisions))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a watch asks the engine for {name}")


def some_keys(count: int) -> Sequence[bytes]:
    return [b"k%d" % number for number in range(count)]
