"""Status: what this node knows of itself and its cluster."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from replicator.core.causal_token import CausalToken
from replicator.model.deadline import Deadline
from replicator.model.errors import DeadlineExceeded, Overloaded
from replicator.model.ids import ClusterId, EntryCount, LogIndex, NodeId, Region
from replicator.model.status import EngineStatus, PeerProgress
from replicator.model.values import MemberStatus, NodeStatus
from replicator.service.ports import EnginePort, StorePort

# A state hash reads every live key: one at a time, and few may queue for it.
STATE_HASHES_WAITING_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class MemberAddress:
    """One configured member."""

    node_id: NodeId
    region: Region
    api_address: str
    peer_address: str


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who this node is, from its configuration. Members include the node itself."""

    cluster_id: ClusterId
    node_id: NodeId
    region: Region
    version: str
    members: tuple[MemberAddress, ...]


class StatusService:
    """Answers from memory and one read transaction, besides the state hash."""

    def __init__(self, engine: EnginePort, store: StorePort, identity: NodeIdentity) -> None:
        self._engine = engine
        self._store = store
        self._identity = identity
        self._started_s = time.monotonic()
        self._hash_slot = asyncio.Semaphore(1)
        self._hashes_waiting = 0

    @property
    def identity(self) -> NodeIdentity:
        return self._identity

    async def status(self, *, state_hash: bool, timeout_s: float) -> NodeStatus:
        """Raises Overloaded or DeadlineExceeded, both only if a state hash was asked for."""
        hashed, hashed_index = "", LogIndex(0)
        if state_hash:
            hashed, hashed_index = await self._state_hash(Deadline.after(timeout_s))
        engine = self._engine.status()
        position = self._store.position
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
            members=self._members(engine),
            token=CausalToken(position.applied_index).encode(self._identity.cluster_id),
            uptime_s=time.monotonic() - self._started_s,
        )

    def _members(self, engine: EngineStatus) -> tuple[MemberStatus, ...]:
        progress = {peer.node_id: peer for peer in engine.peers}
        return tuple(self._member(member, engine, progress.get(member.node_id)) for member in self._identity.members)

    def _member(self, member: MemberAddress, engine: EngineStatus, progress: PeerProgress | None) -> MemberStatus:
        is_self = member.node_id == self._identity.node_id
        match_index = progress.match_index if progress else None
        lag_entries = progress.lag_entries if progress else None
        if is_self and engine.role == "leader":
            match_index, lag_entries = engine.last_index, EntryCount(0)
        return MemberStatus(
            node_id=member.node_id,
            region=member.region,
            api_address=member.api_address,
            peer_address=member.peer_address,
            connected=is_self or (progress is not None and progress.connected),
            leader=member.node_id == engine.leader_id,
            match_index=match_index,
            lag_entries=lag_entries,
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
