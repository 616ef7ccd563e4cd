"""The engine's front door: propose, read index, wait, status, transfer. Async shell over a Replica.

Decides nothing about Raft. Holds the loop, the deadlines and the callers' futures.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from replicator.config.timing import RaftTiming
from replicator.engine.calling.calls import Calls
from replicator.engine.calling.waits import AppliedWaits
from replicator.engine.events import Frame, LinkDown, LinkUp, RefusedBy
from replicator.engine.leading.request_table import MEMBER_CHANGE, READ_INDEX, TRANSFER, WRITE, WriteRequest
from replicator.engine.leading.transfer import TransferReason, TransferRequest
from replicator.engine.ports import EngineParts, EngineTransport
from replicator.engine.replica import Replica
from replicator.engine.settings import EngineSettings
from replicator.engine.snapshots.exchange import Snapshots
from replicator.engine.snapshots.providing import SnapshotProviding
from replicator.engine.snapshots.storing import SnapshotStoring
from replicator.engine.snapshots.taking_over import take_over
from replicator.machine.outcomes import APPLIED, REJECTED
from replicator.model.errors import (
    DeadlineExceeded,
    NoLeader,
    ReplicaBehind,
    ReplicatorError,
    ShuttingDown,
    StorageFull,
)
from replicator.model.ids import GROUP_LABEL, LogIndex, NodeId, Region
from replicator.model.log import SnapshotManifest
from replicator.model.members import MemberChange, Membership
from replicator.model.observe import Signal
from replicator.model.status import EngineStatus
from replicator.storage.failures import DiskFull
from replicator.v1 import store_pb2

_LOG = logging.getLogger(__name__)


class RaftEngine:
    """One node's engine. Everything is called on one loop. Implements transport.LinkSink and service.EnginePort."""

    def __init__(self, settings: EngineSettings, parts: EngineParts) -> None:
        self._settings, self._clock, self._observer = settings, parts.clock, parts.observer
        self._storage, self._writer = parts.storage, parts.writer
        applied = self._storage.applied_position.applied_index
        replica = Replica(
            settings, log=self._storage, applied_index=applied, clock=parts.clock, dice=parts.dice,
            observer=parts.observer,
        )  # fmt: skip
        self._turns = parts.turn_loop(
            replica,
            self._writer,
            clock=parts.clock,
            observer=parts.observer,
            on_applied=self._on_applied,
            after_turn=self._after_turn,
        )
        self._storing = SnapshotStoring(parts.clock, parts.dice)
        self._can_make = SnapshotProviding(parts.clock, parts.dice)
        self._snapshots = Snapshots(
            parts.snapshots, self._turns, install=self._install, storing=self._storing, can_make=self._can_make
        )
        self._waits, self._committed_waits = AppliedWaits(applied), AppliedWaits(applied)
        self._calls = Calls(self._turns, parts.clock)
        self._refusing = False
        self._transport: EngineTransport | None = None
        self._announced = replica.membership
        self._task: asyncio.Task[None] | None = None
        self._superseding: asyncio.Task[None] | None = None

    @property
    def _replica(self) -> Replica:
        """The present one: installing a snapshot replaces it."""
        return self._turns.replica

    # Lifecycle -----------------------------------------------------------------------------------------------------

    def connect(self, transport: EngineTransport) -> None:
        """Where frames go and snapshots come from. Before `start`."""
        self._transport = transport
        self._turns.connect(transport)
        self._snapshots.connect(transport)

    def snapshot_file(self, snapshot_id: str) -> Path | None:
        """A snapshot that this node has made and still holds: transport.SnapshotSource."""
        return self._snapshots.file(snapshot_id)

    async def start(self) -> None:
        """Begins to take turns."""
        assert self._task is None, "an engine starts once"
        self._task = asyncio.create_task(self._turns.run(), name="engine-turns")

    async def wait_failed(self) -> None:
        """Raises what ended the engine: StorageFailed, or a bug's exception. Returns if it was stopped."""
        assert self._task is not None, "start first"
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Ends after the turn in hand; callers still waiting learn that their outcome is unknown."""
        self._refusing = True
        await self._snapshots.stop()
        self._turns.stop()
        if self._task is not None:
            await asyncio.wait({self._task})
        self._fail_callers("this node stops")

    def refuse_proposals(self) -> None:
        """Drain: new writes, its own and forwarded ones, get ShuttingDown; those under way go on."""
        self._refusing = True
        self._replica.drain()

    # transport.LinkSink --------------------------------------------------------------------------------------------

    def link_up(self, peer: NodeId, epoch: int, directory_id: bytes) -> None:
        """A stream to a peer is established."""
        self._turns.post(LinkUp(peer, epoch, directory_id))

    def link_down(self, peer: NodeId, epoch: int) -> None:
        """The stream of that epoch is gone."""
        self._turns.post(LinkDown(peer, epoch))

    def note_refusal(self, peer: NodeId, founder: bytes) -> None:
        """A peer does not let this node into its group."""
        self._turns.post(RefusedBy(peer, founder))

    def superseded(self, peer: NodeId, why: str) -> None:
        """A copy of this node's data directory has run: that is made durable, and ends the node."""
        if self._superseding is None:
            _LOG.error("peer=%s reports that this node must stop: %s", peer, why)
            self._superseding = asyncio.create_task(
                self._turns.supersede(f"reported by {peer}: {why}"), name="engine-superseded"
            )

    async def frame(self, peer: NodeId, epoch: int, payload: bytes) -> None:
        """One message; waits while the inbox is full, which is the back-pressure."""
        await self._turns.room()
        self._turns.post(Frame(peer, epoch, payload))

    # service.EnginePort --------------------------------------------------------------------------------------------

    async def propose(self, command: bytes, *, timeout_s: float) -> store_pb2.BatchOutcome:
        """Replicates one serialized store_pb2.CommandBatch, at the leader or through it; returns its outcome.

        Raises NoLeader, Overloaded, StorageFull, ShuttingDown, DeadlineExceeded: nothing happened.
        Raises OutcomeUnknown: it may have.
        """
        try:
            outcome = await self._calls.ask(
                WRITE, WriteRequest(command), timeout_s=timeout_s, check=self._check_accepting
            )
        except ReplicatorError as error:
            self._observer.count(Signal.PROPOSALS, outcome=error.reason, group=GROUP_LABEL)
            raise
        self._observer.count(Signal.PROPOSALS, outcome=_name_of(outcome), group=GROUP_LABEL)
        return outcome

    async def read_index(self, *, timeout_s: float) -> LogIndex:
        """A linearizable point, see read_index.py. Raises NoLeader, DeadlineExceeded, Overloaded, ShuttingDown."""
        asked_s = self._clock.monotonic_s()
        index = await self._calls.ask(READ_INDEX, None, timeout_s=timeout_s, check=self._check_running)
        self._replica.freshness.covers(index, asked_s)
        return index

    async def wait_applied(self, index: LogIndex, *, timeout_s: float) -> None:
        """Returns once the local store holds `index`. Raises ReplicaBehind, Overloaded."""
        await self._waits.wait(index, timeout_s=timeout_s)

    def listen_applied(self, listener: Callable[[], None]) -> None:
        """Is called on the loop whenever the store holds more, by entries or a snapshot; short, never raises."""
        self._waits.listen(listener)

    async def wait_stored(self, *, timeout_s: float) -> None:
        """Returns once the data file, which scans and hashes read, holds all that is applied now.

        Raises ReplicaBehind, Overloaded.
        """
        index = self.applied_index
        try:
            async with asyncio.timeout(timeout_s):
                while self._storage.position.applied_index < index:
                    await self._flush_up_to(index, timeout_s)
        except DiskFull as error:
            raise ReplicaBehind(
                f"the newest writes are in memory and in the log only, this read is of the data file: {error}; free "
                "space, or read from another node",
                retry_after_s=1.0,
            ) from error
        except TimeoutError:
            raise ReplicaBehind("the newest writes did not reach the data file in time", retry_after_s=0.05) from None

    async def _flush_up_to(self, index: LogIndex, timeout_s: float) -> None:
        """A flush takes what the log says to be committed: that must be in it first."""
        if self._storage.hard_state().commit_index < index:
            if self._turns.read_only_reason:
                raise DiskFull(self._turns.read_only_reason)
            self._replica.store_soon()
            self._turns.wake()
            await self._committed_waits.wait(index, timeout_s=timeout_s)
        await self._writer.flush()

    async def wait_fresh(self, max_staleness_ms: float, *, timeout_s: float) -> None:
        """Returns once the local state is provably no older. Raises ReplicaBehind."""
        deadline_s = self._clock.monotonic_s() + timeout_s
        while (staleness_ms := self.staleness_ms()) is None or staleness_ms > max_staleness_ms:
            left_s = deadline_s - self._clock.monotonic_s()
            try:
                if left_s <= 0:
                    raise DeadlineExceeded("out of time")
                index = await self.read_index(timeout_s=left_s)
                await self.wait_applied(index, timeout_s=deadline_s - self._clock.monotonic_s())
            except (NoLeader, DeadlineExceeded, ReplicaBehind) as error:
                known = "unknown" if staleness_ms is None else f"{staleness_ms:.0f} ms"
                raise ReplicaBehind(
                    f"staleness is {known}, the read allows {max_staleness_ms:.0f} ms, and it could not be improved in "
                    f"time: {error.message}; allow more, or ask another node",
                    retry_after_s=0.05,
                ) from error

    def staleness_ms(self) -> float | None:
        """Upper bound of the age of the local state; None if nothing is known yet."""
        staleness_s = self._replica.staleness_s()
        return None if staleness_s is None else staleness_s * 1000

    @property
    def applied_index(self) -> LogIndex:
        """Of the store as it is served."""
        return self._replica.applied_index

    @property
    def founder(self) -> bytes:
        """Of the membership that is applied here; empty before the first one."""
        return self._replica.membership.founder

    @property
    def known_commit_index(self) -> LogIndex:
        """Committed, as far as this node knows."""
        return self._replica.commit_index

    @property
    def is_caught_up(self) -> bool:
        """Has applied all that a current leader had committed at some time since this process started."""
        return self._replica.staleness_s() is not None

    @property
    def queue_depth(self) -> int:
        """Proposals queued or uncommitted at this node."""
        return self._replica.proposals.depth

    async def change_members(self, change: MemberChange, *, timeout_s: float) -> Membership:
        """The membership after the change, applied at the leader; may be called on any node.

        Raises InvalidArgument, NoMajority, ChangeInProgress, NoLeader, Overloaded, ShuttingDown, DeadlineExceeded:
        nothing happened. Raises OutcomeUnknown: the change may still be applied; asking again is safe.
        """
        membership = await self._calls.ask(MEMBER_CHANGE, change, timeout_s=timeout_s, check=self._check_accepting)
        return membership.without_secret()

    def timing(self) -> RaftTiming:
        """The timers in force at this node."""
        return self._replica.timers.timing

    def membership(self) -> Membership:
        """As applied here."""
        return self._replica.membership

    def status(self) -> EngineStatus:
        """What this node knows now."""
        problems = self._storing.problem(self.applied_index), self._can_make.problem()
        return self._replica.status(self._turns.read_only_reason, snapshot_problem="; ".join(filter(None, problems)))

    @property
    def lacks_snapshot(self) -> bool:
        """Whether it needs a snapshot that it cannot store."""
        return bool(self._storing.problem(self.applied_index))

    @property
    def cannot_make_snapshot(self) -> bool:
        """Whether it could not make one that another node needs."""
        return bool(self._can_make.problem())

    async def transfer_leadership(
        self,
        target: NodeId | None = None,
        region: Region | None = None,
        *,
        timeout_s: float,
        why: TransferReason = "asked",
    ) -> NodeId:
        """Hands leadership to `target`, to a voter of `region`, or to any other voter; returns who leads then.

        Asked at any node. Writes wait meanwhile, and none fails. Raises InvalidArgument (an unknown name, no voter, or
        both named), NoLeader, or Unavailable: nobody caught up or took over in time, and the leader leads on.
        """
        request = TransferRequest(target, region, why, timeout_s=timeout_s)
        return await self._calls.ask(TRANSFER, request, timeout_s=timeout_s, check=self._check_running)

    # -----------------------------------------------------------------------------------------------------------------

    def _check_running(self) -> None:
        if self._task is None or self._task.done():
            raise ShuttingDown("this node is shutting down; ask another one", retry_after_s=0.05)

    def _check_accepting(self) -> None:
        self._check_running()
        if self._refusing:
            raise ShuttingDown("this node is shutting down; send the write to another one", retry_after_s=0.05)
        if self._turns.read_only_reason:
            raise StorageFull(
                f"this node accepts no writes: {self._turns.read_only_reason}; free space or raise "
                "storage.size_max_mib, or write through another node",
                retry_after_s=1.0,
            )

    def _on_applied(self, outcomes: Sequence[Sequence[store_pb2.BatchOutcome]]) -> None:
        if outcomes:
            self._waits.applied(self._replica.applied_index)
            duplicates = sum(outcome.duplicate for results in outcomes for outcome in results)
            if duplicates:
                self._observer.count(Signal.DUPLICATES_SUPPRESSED, duplicates)

    def _after_turn(self) -> None:
        self._committed_waits.applied(self._storage.hard_state().commit_index)
        self._snapshots.after_turn()
        self._announce_membership()
        self._calls.after_turn()

    def _announce_membership(self) -> None:
        """Links follow the membership, whether an entry or a snapshot brought it."""
        membership = self._replica.membership
        if membership is not self._announced and self._transport is not None:
            self._announced = membership
            self._transport.set_membership(membership)

    async def _install(self, prepared: Path, manifest: SnapshotManifest) -> bool:
        return await take_over(
            prepared, manifest,
            turns=self._turns, storage=self._storage, waits=self._waits, install=self._writer.install,
        )  # fmt: skip

    def _fail_callers(self, why: str) -> None:
        self._replica.fail_all(ShuttingDown(why))
        for waits in (self._waits, self._committed_waits):
            waits.fail_all(ShuttingDown(why))
        self._calls.fail_waiting(ShuttingDown(why))


def _name_of(outcome: store_pb2.BatchOutcome) -> str:
    """Of a batch of several commands, the worst of its outcomes."""
    statuses = (REJECTED,) if outcome.reason else outcome.statuses or (APPLIED,)
    return store_pb2.BatchOutcome.Status.Name(max(statuses))
