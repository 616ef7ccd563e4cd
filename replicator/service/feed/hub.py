"""One notifier for all watchers of a node: takes what is applied into the tail, and wakes those whom it concerns.

A watcher is a cursor, `following`: the revision, and the place in it, of the first change that it has not looked at.
Invariant: while a watcher waits, no change that it wants lies between its cursor and the end of the tail. So it costs
nothing until a change comes that it wants, and its cursor is then moved to that one. Where the tail loses touch with
the store (a snapshot took its place, or too much came at once), all that wait are woken, and read the store from where
the tail had ended.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from replicator.model.errors import ReplicatorError, ShuttingDown
from replicator.model.ids import LogIndex, Revision
from replicator.service.feed.interest import Interest
from replicator.service.feed.tail import Tail
from replicator.service.feed.wanted import Wanted
from replicator.service.ports import FeedReads

ADVANCE_CHANGES_MAX: Final = 512  # taken in one go; then others of the loop have their turn
SEED_CHANGES_MAX: Final = 512  # that the first watcher finds in memory, if it asks for a little history


@dataclass(slots=True, eq=False)
class Watcher:
    """woken: set while it waits."""

    wanted: Wanted
    following: tuple[int, int]
    woken: "asyncio.Future[None] | None" = field(default=None, repr=False)


class Hub:
    """Used on one loop. Follows the store only while there are watchers."""

    def __init__(self, reads: FeedReads, listen: Callable[[Callable[[], None]], None]) -> None:
        """listen: EnginePort.listen_applied."""
        self._reads = reads
        self._interest: Interest[Watcher] = Interest()
        self._watchers: set[Watcher] = set()
        self._end: ReplicatorError | None = None
        self._is_scheduled = False
        self.tail = Tail(Revision(0), LogIndex(0))
        listen(self._applied)

    def __len__(self) -> int:
        """Watchers."""
        return len(self._watchers)

    def join(self, watcher: Watcher) -> None:
        """Until `leave`. Raises ShuttingDown."""
        self.check_open()
        if not self._watchers:
            self._begin_tail(watcher.following[0])
        self._watchers.add(watcher)
        self._interest.add(watcher, watcher.wanted)

    def leave(self, watcher: Watcher) -> None:
        """Idempotent."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
            self._interest.remove(watcher, watcher.wanted)
        if not self._watchers:
            self.tail = Tail(Revision(0), LogIndex(0))

    def check_open(self) -> None:
        """Raises ShuttingDown once the node drains."""
        if self._end is not None:
            raise self._end

    def close(self) -> None:
        """No watch goes on, and none begins: those that wait end at once, the others when they look next."""
        self._end = ShuttingDown("this node is shutting down; go on at another one")
        for watcher in self._watchers:
            if watcher.woken is not None and not watcher.woken.done():
                watcher.woken.set_result(None)

    def lag(self) -> int:
        """Revisions that the slowest watcher is behind the store."""
        newest = self._reads.applied_position.revision
        return max((newest + 1 - watcher.following[0] for watcher in self._watchers), default=0)

    async def wait(self, watcher: Watcher, timeout_s: float) -> bool:
        """True once there may be something for the watcher; False after timeout_s, and then there was nothing.

        Either way its cursor has moved over what it does not want.
        """
        assert watcher.following[0] > self.tail.last, "it has not caught up"
        assert watcher.woken is None, "one wait at a time"
        watcher.woken = woken = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait({woken}, timeout=max(0.0, timeout_s))
            if not woken.done():
                watcher.following = max(watcher.following, (self.tail.last + 1, 0))
            return woken.done()
        finally:
            watcher.woken = None

    def _begin_tail(self, first: int) -> None:
        """From the present on; a little earlier, if the watcher wants that and memory holds it."""
        now = self._reads.applied_position
        self.tail = Tail(now.revision, now.applied_index)
        if not 1 <= first <= now.revision or now.revision - first >= SEED_CHANGES_MAX:
            return
        recent = self._reads.recent_changes(Revision(first), count_max=SEED_CHANGES_MAX)
        if recent is not None and recent.revision == now.revision:
            self.tail = Tail(Revision(first - 1), now.applied_index)
            for whole in recent.changes:
                self.tail.add(whole, now.applied_index)

    def _applied(self) -> None:
        """However often it is called before the loop gets to it, the tail advances once."""
        if self._watchers and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._advance)

    def _advance(self) -> None:
        self._is_scheduled = False
        if not self._watchers:
            return
        tail = self.tail
        recent = self._reads.recent_changes(Revision(tail.last + 1), count_max=ADVANCE_CHANGES_MAX)
        if recent is None:
            self._jump()
            return
        for whole in recent.changes:
            tail.add(whole, recent.applied_index)
            for change in whole:
                for watcher in self._interest.watching(change.key):
                    _wake(watcher, change.revision)
        tail.applied_index = recent.applied_index
        if tail.last < self._reads.applied_position.revision:
            self._applied()

    def _jump(self) -> None:
        ended = self.tail.last
        now = self._reads.applied_position
        self.tail = Tail(now.revision, now.applied_index)
        for watcher in self._watchers:  # those, too, whose beginning had not come: it may lie in what was jumped over
            if watcher.woken is not None and not watcher.woken.done():
                watcher.following = max(watcher.following, (ended + 1, 0))
                watcher.woken.set_result(None)


def _wake(watcher: Watcher, revision: int) -> None:
    """There may be something for it at `revision`, and there is nothing before that."""
    if watcher.woken is not None and not watcher.woken.done() and watcher.following <= (revision, 0):
        watcher.following = (revision, 0)
        watcher.woken.set_result(None)
