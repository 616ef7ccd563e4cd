"""Status: what this node knows of itself and its cluster."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from replicator.config.timing import RaftTiming
from replicator.model.causal_token import CausalToken, token_scope
from replicator.model.clock import Clock
from replicator.model.deadline import Deadline
from replicator.model.errors import DeadlineExceeded, Overloaded
from replicator.model.ids import ClusterId, LogIndex, NodeId, Region
from replicator.model.values import NodeStatus
from replicator.service.members import members_seen
from replicator.service.ports import EnginePort, GroupPort, PositionPort, StoreReads

# A state hash reads every live key: one at a time, and few may queue for it.
STATE_HASHES_WAITING_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who this node is, from its configuration."""

    cluster_id: ClusterId
    node_id: NodeId
    region: Region
    version: str


class StatusService:
    """Answers from memory and one read transaction, besides the state hash."""

    def __init__(
        self,
        engine: EnginePort,
        group: GroupPort,
        store: StoreReads,
        identity: NodeIdentity,
        timing: Callable[[], RaftTiming],
        *,
        clock: Clock,
        linked_at: Callable[[], Mapping[NodeId, str]] = dict,
    ) -> None:
        """Both are asked for each status. timing: the timers in force. linked_at: see MemberStatus."""
        self._engine = engine
        self._group = group
        self._timing = timing
        self._linked_at = linked_at
        self._store = store
        self._identity = identity
        self._clock, self._started_s = clock, clock.monotonic_s()
        self._hash_slot = asyncio.Semaphore(1)
        self._hashes_waiting = 0

    @property
    def identity(self) -> NodeIdentity:
        return self._identity

    async def status(self, *, state_hash: bool, timeout_s: float) -> NodeStatus:
        """Raises Overloaded, ReplicaBehind or DeadlineExceeded, all only if a state hash was asked for."""
        hashed, hashed_index = "", LogIndex(0)
        if state_hash:
            deadline = Deadline.after(timeout_s, self._clock.monotonic_s)
            await self._engine.wait_stored(timeout_s=deadline.left_s())
            hashed, hashed_index = await self._state_hash(deadline)
        engine = self._engine.status()
        linked_at = self._linked_at()
        membership = self._group.membership()
        timing = self._timing()
        position = self._store.applied_position
        return NodeStatus(
            cluster_id=self._identity.cluster_id,
            node_id=self._identity.node_id,
            region=self._identity.region,
            version=self._identity.version,
            role=engine.role,
            term=engine.term,
            leader_id=engine.leader_id,
            commit_index=engine.commit_index,
            applied_index=position.applied_index,
            last_index=engine.last_index,
            revision=position.revision,
            live_keys=position.live_keys,
            data_bytes=self._store.data_bytes(),
            staleness_ms=self._engine.staleness_ms(),
            rolling_hash=position.rolling_hash.hex(),
            state_hash=hashed,
            state_hash_index=hashed_index,
            read_only_reason=engine.read_only_reason,
            members=tuple(
                replace(member, linked_at=linked_at.get(NodeId(member.node_id), ""))
                for member in members_seen(membership, engine, self._identity.node_id)
            ),
            token=_token(membership.founder, position),
            uptime_s=self._clock.monotonic_s() - self._started_s,
            membership_index=membership.index,
            heartbeat_ms=_milliseconds(timing.heartbeat_s),
            election_timeout_min_ms=_milliseconds(timing.election_timeout_min_s),
            election_timeout_max_ms=_milliseconds(timing.election_timeout_max_s),
            no_majority=engine.no_majority,
            state_difference=engine.state_difference,
            log_time_ms=engine.log_time_ms,
            snapshot_problem=engine.snapshot_problem,
        )

    async def _state_hash(self, deadline: Deadline) -> tuple[str, LogIndex]:
        if self._hashes_waiting >= STATE_HASHES_WAITING_MAX:
            raise Overloaded(
                f"{STATE_HASHES_WAITING_MAX} state hashes are already asked for; each reads every key, try again later",
                retry_after_s=1.0,
            )
        self._hashes_waiting += 1
        task = asyncio.ensure_future(self._hash_in_turn())
        # The thread cannot be stopped; it keeps its place until it ends, even if nobody waits for it any more.
        task.add_done_callback(self._hash_ended)
        try:
            async with asyncio.timeout(deadline.left_s()):
                return await asyncio.shield(task)
        except TimeoutError:
            raise DeadlineExceeded(
                "the state hash was not ready in time; it reads every key, allow more time"
            ) from None

    async def _hash_in_turn(self) -> tuple[str, LogIndex]:
        async with self._hash_slot:
            return await asyncio.to_thread(self._store.state_hash)

    def _hash_ended(self, task: "asyncio.Future[tuple[str, LogIndex]]") -> None:
        self._hashes_waiting -= 1
        if not task.cancelled():
            task.exception()  # taken, so that an unwaited failure is not reported twice


def _token(founder: bytes, position: PositionPort) -> str:
    """Covers what is applied; none before it is known whose log that is."""
    return CausalToken(position.applied_index, position.revision).encode(token_scope(founder)) if founder else ""


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
