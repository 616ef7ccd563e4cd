"""Watch: one reader's way through the feed, from where it begins until it ends; served by whichever replica it asks.

A watcher that has caught up reads the tail, in memory; one that is behind reads the store, a page at a time, off the
loop. It is asked for the next batch only once the last one is on its way, so one that is slow costs a cursor.

Promises, for each watch: every change that it wants, from its beginning on, once, in the order of revisions and of
their places in them; a revision's changes in one batch, or in parts that say so. `revision` of a batch: nothing that
is wanted up to it is missing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from replicator.model.causal_token import CausalToken, token_scope
from replicator.model.changes import StoredChange, forgotten
from replicator.model.clock import Clock
from replicator.model.deadline import Deadline
from replicator.model.errors import InvalidToken, Overloaded, TokenAhead
from replicator.model.ids import LogIndex, Revision
from replicator.service.feed.hub import Hub, Watcher
from replicator.service.feed.wanted import WatchOptions, check_watch
from replicator.service.ports import EnginePort, FeedReads
from replicator.service.read_levels import ReadLevels

BATCH_BYTES: Final = 256 << 10  # of keys and values; one change more may come on top, with what it superseded
EXAMINED_CHANGES_MAX: Final = 4096  # of history, for one page
STORED_S_MAX: Final = 10.0  # for what is applied to reach the disk, where history is read
PREVIOUS_KEPT_BYTES_MAX: Final = 1024  # a larger pair is looked up again for each watcher
CROWDED_RETRY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """watches_max: of the node. per_address_max: from one address."""

    watches_max: int
    per_address_max: int


@dataclass(frozen=True, slots=True)
class FeedBatch:
    """As model.changes.ChangeBatch says; is_part: more changes of the last revision follow in the next batch."""

    changes: Sequence[StoredChange]
    revision: int
    token: str
    caught_up: bool
    is_part: bool


class WatchService:
    """All watches of a node."""

    def __init__(self, engine: EnginePort, reads: FeedReads, limits: WatchLimits, clock: Clock) -> None:
        self._engine, self._reads, self._limits, self._clock = engine, reads, limits, clock
        self._levels = ReadLevels(engine, clock)
        self._of_address: dict[str, int] = {}
        self.hub = Hub(reads, engine.listen_applied)

    def drain(self) -> None:
        """Ends all watches, with ShuttingDown; none begins any more."""
        self.hub.close()

    async def open(self, options: WatchOptions, address: str, *, timeout_s: float) -> "Watch":
        """Raises InvalidArgument, Overloaded, ShuttingDown, Compacted, and for a token what a read would raise."""
        check_watch(options)
        self.hub.check_open()
        self._take_place(address)
        try:
            first = await self._first(options, Deadline.after(timeout_s, self._clock.monotonic_s))
            watch = Watch(self, options, address, first)
            self.hub.join(watch.watcher)
            return watch
        except BaseException:
            self._leave_place(address)
            raise

    def ended(self, watch: "Watch") -> None:
        """Once for each."""
        self.hub.leave(watch.watcher)
        self._leave_place(watch.address)

    async def _first(self, options: WatchOptions, deadline: Deadline) -> int:
        """The revision to begin at, once this replica may say so."""
        scope = self._levels.scope()
        if not options.token:
            first = options.from_revision or self._reads.applied_position.revision + 1
        else:
            token = CausalToken.decode(options.token, scope)
            if token.revision is None:
                raise InvalidToken(
                    "the token was issued by an older release, and names no revision to watch from; give from_revision",
                    metadata={"problem": "no_revision"},
                )
            await self._levels.reach(token, deadline)
            newest = self._reads.applied_position.revision
            if token.revision > newest:
                raise TokenAhead(
                    f"the token names revision {token.revision}, but the store is at {newest}: it was not issued by "
                    "this log; drop the token and watch from a revision",
                    metadata={"token_revision": str(token.revision), "revision": str(newest)},
                )
            first = token.revision + 1
        self.check_held(first)
        return first

    def check_held(self, revision: int) -> None:
        """Raises Compacted."""
        oldest = self._reads.compacted_revision
        if revision < oldest:
            raise forgotten(revision, oldest)

    def _take_place(self, address: str) -> None:
        limits, held = self._limits, self._of_address.get(address, 0)
        if sum(self._of_address.values()) >= limits.watches_max:
            raise _too_many(f"{limits.watches_max} watches are open", "limits.watches_max", limits.watches_max)
        if held >= limits.per_address_max:
            what = f"{limits.per_address_max} watches are open from your address"
            raise _too_many(what, "limits.watches_per_address_max", limits.per_address_max)
        self._of_address[address] = held + 1

    def _leave_place(self, address: str) -> None:
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]

    # What watches read

    async def read_history(self, watcher: Watcher, options: WatchOptions) -> "_Read | None":
        """A page from the store; None if what comes next had not reached the disk, and now has."""
        self.check_held(watcher.following[0])
        page = await asyncio.to_thread(
            self._reads.changes,
            watcher.following,
            options.wanted.matches,
            with_previous=options.with_previous,
            examined_max=EXAMINED_CHANGES_MAX,
            bytes_max=BATCH_BYTES,
        )
        if page.following > watcher.following:
            return _Read(page.changes, page.following, page.applied_index)
        assert watcher.following[0] > page.stored_revision, "a page gets on, unless there is nothing"
        await self._engine.wait_stored(timeout_s=STORED_S_MAX)
        return None

    def read_tail(self, watcher: Watcher, options: WatchOptions) -> "_Read":
        """What is in memory."""

        def take(change: StoredChange) -> StoredChange | None:
            if not options.wanted.matches(change.key, change.is_delete):
                return None
            return self._with_previous(change) if options.with_previous else change

        tail = self.hub.tail
        changes, following = tail.read(watcher.following, take, BATCH_BYTES)
        return _Read(changes, following, tail.applied_index)

    def _with_previous(self, change: StoredChange) -> StoredChange:
        if change.has_previous:
            return change
        previous = self._reads.previous_pair(change)
        if previous is None or len(previous.value) <= PREVIOUS_KEPT_BYTES_MAX:
            change.previous, change.has_previous = previous, True
            return change
        return replace(change, previous=previous, has_previous=True, encoded={})

    def token(self, revision: int, index: LogIndex) -> str:
        return CausalToken(index, Revision(revision)).encode(token_scope(self._engine.founder))

    def now(self) -> tuple[int, LogIndex]:
        """Revision and index of what is applied."""
        position = self._reads.applied_position
        return position.revision, position.applied_index


@dataclass(frozen=True, slots=True)
class _Read:
    """Wanted changes, where to go on, and an index at which the store held all before that."""

    changes: Sequence[StoredChange]
    following: tuple[int, int]
    applied_index: LogIndex


class Watch:
    """One of them. `next` again and again, then `close`."""

    def __init__(self, service: WatchService, options: WatchOptions, address: str, first: int) -> None:
        self._service, self._options = service, options
        self.address = address
        self.watcher = Watcher(options.wanted, (first, 0))
        revision, index = service.now()
        # Up to where nothing is missing: at first, nothing is promised of what is not applied here.
        self._whole: tuple[int, LogIndex] | None = (first - 1, index) if first <= revision + 1 else None
        self._owes_end = False  # of a revision that was sent in parts
        self._was_caught_up = self._is_closed = False
        self._due_s = 0.0

    def close(self) -> None:
        """Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._service.ended(self)

    async def next(self) -> FeedBatch:
        """The next changes; without any, the first moment at which it has caught up, and then marks of progress.

        Raises Compacted, ShuttingDown, ReplicaBehind (the disk is full, and history is in memory only).
        """
        loop = asyncio.get_running_loop()
        while True:
            self._service.hub.check_open()
            batch = await self._step(loop.time())
            if batch is not None:
                self._due_s = loop.time() + self._options.progress_s
                return batch

    async def _step(self, now_s: float) -> FeedBatch | None:
        hub, watcher = self._service.hub, self.watcher
        if watcher.following[0] > hub.tail.last:
            return await self._wait(now_s)
        if hub.tail.holds(watcher.following[0]):
            return self._batch(self._service.read_tail(watcher, self._options), now_s)
        read = await self._service.read_history(watcher, self._options)
        return None if read is None else self._batch(read, now_s)

    async def _wait(self, now_s: float) -> FeedBatch | None:
        hub = self._service.hub
        if self._was_caught_up and await hub.wait(self.watcher, self._due_s - now_s):
            return None
        self._was_caught_up = True
        hub.check_open()
        if self.watcher.following[0] == hub.tail.last + 1:
            self._note_whole(hub.tail.last, hub.tail.applied_index)
        return self._answer((), caught_up=self._whole is not None)

    def _batch(self, read: _Read, now_s: float) -> FeedBatch | None:
        assert read.following > self.watcher.following, "a cursor moves forward"
        self.watcher.following = read.following
        self._note_whole(read.following[0] - 1, read.applied_index)
        is_due = bool(self._due_s) and now_s >= self._due_s
        if not (read.changes or is_due or (self._owes_end and not read.following[1])):
            return None
        if read.changes:
            self._owes_end = bool(read.following[1])
        elif not read.following[1]:
            self._owes_end = False
        return self._answer(read.changes, caught_up=read.following[0] > self._service.now()[0])

    def _note_whole(self, revision: int, index: LogIndex) -> None:
        """Never back: a page may come from an older view of the store than the tail had."""
        if self._whole is not None:
            revision, index = max(self._whole[0], revision), max(self._whole[1], index)
        self._whole = (revision, index)

    def _answer(self, changes: Sequence[StoredChange], *, caught_up: bool) -> FeedBatch:
        if self._whole is None:
            assert not changes
            return FeedBatch((), 0, "", caught_up=False, is_part=False)
        revision, index = self._whole
        token = self._service.token(revision, index)
        return FeedBatch(changes, revision, token, caught_up, is_part=self._owes_end)


def _too_many(what: str, field: str, limit: int) -> Overloaded:
    return Overloaded(
        f"{what}, the limit ({field}); watch several prefixes in one watch, or raise it",
        metadata={"limit": str(limit)},
        retry_after_s=CROWDED_RETRY_S,
    )
