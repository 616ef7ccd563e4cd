"""The loop that takes turns: events in, one durable commit, frames out. Only caller of `Replica.turn` in a node.

Promise: no frame that relies on what a turn decided leaves the node before its write is durable. Answers about what is
applied leave at once: a majority holds it durably, and so does this node's log, since an earlier turn.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

from replicator.engine.events import Event, Frame, LinkDown, LinkUp, Outgoing, Turn
from replicator.engine.replica import Replica
from replicator.model.clock import Clock
from replicator.model.errors import HistoryReplaced, OtherGroupsLog, StorageFailed, Superseded
from replicator.model.ids import NodeId
from replicator.model.log import Entry, TurnWrite
from replicator.model.observe import Observer, Signal
from replicator.storage.failures import DiskFull, SnapshotRefused
from replicator.v1 import store_pb2

_LOG = logging.getLogger(__name__)

INBOX_BYTES_MAX: Final = 32 << 20  # beyond it links are not read: back-pressure reaches the sender
INBOX_FRAMES_MAX: Final = 8192
DISK_FULL_RETRY_S: Final = 0.5


class FrameSender(Protocol):
    """The transport as the engine uses it."""

    def send(self, peer: NodeId, payload: bytes, *, for_caller: bool) -> bool:
        """for_caller: a question or an answer of a caller, which may wait: Raft's own frames go first.

        Each kind stays in order; between the two, none is kept.
        """
        ...

    def drop(self, peer: NodeId, epoch: int, why: str) -> None: ...

    def condemn(self, peer: NodeId, epoch: int, why: str) -> None:
        """Ends the link of that epoch, and links that run of the peer's data directory never again; the peer is told.

        why: what it lost.
        """
        ...


class Committer(Protocol):
    """Applies in memory on the loop, and makes durable off the loop: storage.StorageWriter."""

    def apply(self, entries: Sequence[Entry]) -> list[list[store_pb2.BatchOutcome]]:
        """Fewer outcomes than entries: the rest is applied by the next commit. Raises StorageFailed."""
        ...

    async def commit(self, write: TurnWrite) -> list[list[store_pb2.BatchOutcome]]: ...

    async def flush(self) -> None:
        """Brings to the data file what is applied. Raises DiskFull, StorageFailed."""
        ...

    async def mark_superseded(self, why: str) -> Superseded:
        """The data directory must never act again. Raises DiskFull, StorageFailed."""
        ...


class Turns:
    """Inbox, turn loop, outbox of one node."""

    def __init__(
        self,
        replica: Replica,
        committer: Committer,
        *,
        clock: Clock,
        observer: Observer,
        on_applied: Callable[[Sequence[Sequence[store_pb2.BatchOutcome]]], None],
        after_turn: Callable[[], None],
    ) -> None:
        self.replica = replica
        self._committer, self._clock, self._observer = committer, clock, observer
        self._between: tuple[Callable[[], Awaitable[bool]], asyncio.Future[bool]] | None = None
        self._on_applied, self._after_turn = on_applied, after_turn
        self._inbox: list[Event] = []
        self._inbox_bytes = 0
        self._live_epochs: dict[NodeId, int] = {}  # as of now: a turn under way does not know them yet
        self._room = asyncio.Event()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._transport: FrameSender | None = None
        self._failure: StorageFailed | None = None
        self.read_only_reason = ""

    def connect(self, transport: FrameSender) -> None:
        """Where frames go."""
        self._transport = transport

    def post(self, event: Event) -> None:
        """Queues an event for the next turn."""
        self._inbox.append(event)
        match event:
            case Frame(_peer, _epoch, payload):
                self._inbox_bytes += len(payload)
            case LinkUp(peer, epoch, _):
                self._live_epochs[peer] = epoch
            case LinkDown(peer, epoch) if self._live_epochs.get(peer) == epoch:
                del self._live_epochs[peer]
        self._wake.set()

    async def room(self) -> None:
        """Waits while the inbox is full; the link that waits here is not read meanwhile."""
        while self._is_full() and not self._stopping.is_set():
            self._room.clear()
            await self._room.wait()

    async def between_turns(self, action: Callable[[], Awaitable[bool]]) -> bool:
        """Runs `action` while no turn is open, and returns what it returns. What it cannot take back ends the node."""
        assert self._between is None, "one at a time"
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._between = action, done
        self._wake.set()
        return await done

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    async def supersede(self, why: str) -> None:
        """A copy of the directory has run: that is made durable, and the loop ends after the turn in hand, failing."""
        self._failure = await self._mark(why)
        self.stop()

    def stop(self) -> None:
        """The loop ends after the turn in hand."""
        self._stopping.set()
        self._wake.set()
        self._room.set()

    async def run(self) -> None:
        """Takes turns until stopped.

        Raises StorageFailed, HistoryReplaced, OtherGroupsLog, or what a bug raises: the node ends.
        """
        while not self._stopping.is_set():
            await self._wait_for_work()
            turn = await self._turn()
            self._send(turn.early_frames)
            if not await self._perform(turn):
                break  # stopped while the disk was full: the turn never happened
            self._send(self.replica.committed())
            self._after_turn()
            await self._run_between()
            self._drop_links(turn)
        if self._failure is not None:
            raise self._failure
        if not self.read_only_reason:
            await self._store_the_rest()

    async def _store_the_rest(self) -> None:
        """What waited for a later turn goes to disk: the next reader of the directory finds all that was applied."""
        write = self.replica.unwritten()
        with contextlib.suppress(DiskFull):  # then it is applied again from the log
            if write is not None:
                await self._committer.commit(write)
            await self._committer.flush()

    async def _perform(self, turn: Turn) -> bool:
        """Applies what the turn applies, tells who waits for it, and makes the turn durable. False if stopped."""
        outcomes = self._committer.apply(turn.write.apply) if turn.write.apply else []
        is_applied = len(outcomes) == len(turn.write.apply)
        if is_applied:
            self._tell_applied(outcomes)
        if turn.must_commit or not is_applied:
            rest = await self._make_durable(turn.write)
            if rest is None:
                return False
            if not is_applied:
                self._tell_applied([*outcomes, *rest])
        return True

    def _tell_applied(self, outcomes: Sequence[Sequence[store_pb2.BatchOutcome]]) -> None:
        self._send(self.replica.applied(outcomes))
        self._on_applied(outcomes)

    async def _turn(self) -> Turn:
        """Raises HistoryReplaced or OtherGroupsLog, once the directory is marked: started again, it must not vote."""
        try:
            return self.replica.turn(self._take_inbox())
        except (HistoryReplaced, OtherGroupsLog) as replaced:
            await self._mark(str(replaced))
            raise

    async def _mark(self, why: str) -> StorageFailed:
        """Marks the directory, which must never act again. Returns what ends the node, also if no mark can be made."""
        try:
            return await self._committer.mark_superseded(why)
        except StorageFailed as error:
            return error
        except DiskFull as error:
            return Superseded(f"a copy of this node's data directory has run, {why} (no room to note it: {error})")

    def _drop_links(self, turn: Turn) -> None:
        for peer, epoch, why in turn.bad_links:
            _LOG.warning("link dropped peer=%s epoch=%d: it sent an invalid message: %s", peer, epoch, why)
            if self._transport is not None:
                self._transport.drop(peer, epoch, why)
        for peer, epoch, why in turn.lost_data:
            _LOG.error(
                "peer=%s has lost data: %s. It does not count until it joins again: docs/operating.md, a lost "
                "or damaged disk", peer, why,
            )  # fmt: skip
            if self._transport is not None:
                self._transport.condemn(peer, epoch, why)

    async def _run_between(self) -> None:
        if self._between is not None:
            (action, done), self._between = self._between, None
            try:
                result = await action()
            except (SnapshotRefused, DiskFull) as error:  # nothing was changed
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(result)

    async def _wait_for_work(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = self.replica.next_due_s()
        wait_s = due_s - self._clock.monotonic_s()
        if not self._wake.is_set() and wait_s > 0:
            timer = loop.call_later(wait_s, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()
        else:
            await asyncio.sleep(0)  # callers that are ready join this turn
        await self._read_first(due_s)
        self._wake.clear()

    async def _read_first(self, due_s: float) -> None:
        """A follower whose loop was held up has not read what arrived meanwhile: it does, before it misses its leader.

        A leader does not wait: the others wait for it.
        """
        heartbeat_s = self.replica.timers.timing.heartbeat_s
        if self._clock.monotonic_s() - due_s > heartbeat_s and not self.replica.is_leader:
            await asyncio.sleep(heartbeat_s)

    def _is_full(self) -> bool:
        return self._inbox_bytes >= INBOX_BYTES_MAX or len(self._inbox) >= INBOX_FRAMES_MAX

    def _take_inbox(self) -> list[Event]:
        inbox, self._inbox, self._inbox_bytes = self._inbox, [], 0
        self._room.set()
        return inbox

    def _take_frames(self) -> list[Frame]:
        """What no turn will take. Events of links stay: the next turn must hear of them."""
        frames = [event for event in self._inbox if isinstance(event, Frame)]
        self._inbox = [event for event in self._inbox if not isinstance(event, Frame)]
        self._inbox_bytes = 0
        self._room.set()
        return frames

    async def _make_durable(self, write: TurnWrite) -> Sequence[Sequence[store_pb2.BatchOutcome]] | None:
        """One durable commit. On a full disk the same write is tried again until there is room, or None if stopped."""
        while True:
            started_s = self._clock.monotonic_s()
            try:
                outcomes = await self._commit_with_heartbeats(write)
            except DiskFull as error:
                self._enter_read_only(str(error))
                if not await self._wait_for_space():
                    return None
                continue
            self._observer.record(Signal.COMMIT_S, self._clock.monotonic_s() - started_s)
            if self.read_only_reason:
                _LOG.warning("disk space is available again: accepting writes")
                self.read_only_reason = ""
            return outcomes

    async def _commit_with_heartbeats(self, write: TurnWrite) -> list[list[store_pb2.BatchOutcome]]:
        """Waits for the disk; a leader sends heartbeats meanwhile, for at most one election timeout."""
        timing = self.replica.timers.timing
        commit = asyncio.ensure_future(self._committer.commit(write))
        give_up_s = self._clock.monotonic_s() + timing.election_timeout_max_s
        done, _ = await asyncio.wait({commit}, timeout=timing.heartbeat_s)
        while not done:
            if self._clock.monotonic_s() < give_up_s:
                self._send(self.replica.heartbeat_while_committing())
            done, _ = await asyncio.wait({commit}, timeout=timing.heartbeat_s)
        return commit.result()

    def _enter_read_only(self, why: str) -> None:
        if not self.read_only_reason:
            self.read_only_reason = why
            _LOG.error(
                "read-only: %s; reads continue, writes are refused; the node resumes once space is available", why
            )
        self._send(self.replica.refuse_queued(why))

    async def _wait_for_space(self) -> bool:
        """False if stopped. What peers send meanwhile is lost, as on a link that fell; forwarded calls are refused."""
        try:
            async with asyncio.timeout(DISK_FULL_RETRY_S):
                await self._stopping.wait()
        except TimeoutError:
            pass
        self._send(self.replica.refuse_forwards(self._take_frames()))
        return not self._stopping.is_set()

    def _send(self, frames: Iterable[Outgoing]) -> None:
        """A frame leaves on the link that it was meant for, or not at all.

        The transport sends on whatever link is up. A peer that restarted during a long commit would take an answer to
        its predecessor for one to itself, since request ids start anew with a process.
        """
        for peer, epoch, payload, for_caller in frames:
            if not self._live_epochs.get(peer) == self.replica.link_epoch(peer) == epoch or self._transport is None:
                self._observer.count(Signal.FRAMES_DROPPED, cause="link_down")
            elif not self._transport.send(peer, payload, for_caller=for_caller):
                self._observer.count(Signal.FRAMES_DROPPED, cause="queue_full")
