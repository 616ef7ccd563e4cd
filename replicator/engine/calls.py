"""What this node's callers ask of whoever leads: here if this node does, by message if another one does.

A question that was surely not taken up, because the node asked leads no more, is asked again. Nothing else is repeated.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from replicator.engine.proposals import Proposal
from replicator.engine.replica import Replica
from replicator.engine.settings import EngineSettings
from replicator.model.clock import Clock
from replicator.model.errors import DeadlineExceeded, NoLeader, NotLeader, OutcomeUnknown, ReplicatorError
from replicator.model.ids import LogIndex, NodeId
from replicator.v1 import store_pb2

T = TypeVar("T")
Sink = Callable[[T | ReplicatorError], None]
NOT_LEADER_PAUSE_S: Final = 0.02  # between asking a node that says it leads no more and asking again


class Calls:
    """Callers' futures and their deadlines. replica: the present one. check: raises what forbids to ask at all."""

    def __init__(
        self, settings: EngineSettings, *, replica: Callable[[], Replica], wake: Callable[[], None], clock: Clock
    ) -> None:
        self._settings, self._replica, self._wake, self._clock = settings, replica, wake, clock
        self._leader_waits: set[asyncio.Future[None]] = set()

    async def propose(self, command: bytes, *, timeout_s: float, check: Callable[[], None]) -> store_pb2.Outcome:
        """Raises DeadlineExceeded if the command is surely not in the log, OutcomeUnknown if it may be."""
        deadline_s = self._clock.monotonic_s() + timeout_s
        while True:
            check()
            try:
                return await self._propose_once(command, deadline_s)
            except NotLeader:  # surely not proposed
                await asyncio.sleep(NOT_LEADER_PAUSE_S)

    async def read_index(self, *, timeout_s: float, check: Callable[[], None]) -> tuple[LogIndex, float]:
        """A linearizable point, and when it was asked for, by the monotonic clock. Raises DeadlineExceeded."""
        deadline_s = self._clock.monotonic_s() + timeout_s
        while True:
            check()
            asked_s = self._clock.monotonic_s()
            try:
                return await self._read_index_once(deadline_s), asked_s
            except NotLeader:
                await asyncio.sleep(NOT_LEADER_PAUSE_S)

    def after_turn(self) -> None:
        """A turn may have brought a leader, or a link to it."""
        if self._leader_waits and self._reaches_leader():
            for waiter in self._leader_waits:
                if not waiter.done():
                    waiter.set_result(None)

    def fail_waiting(self, error: ReplicatorError) -> None:
        """Whoever waits for a leader waits in vain: the node stops."""
        for waiter in self._leader_waits:
            if not waiter.done():
                waiter.set_exception(error)

    # -----------------------------------------------------------------------------------------------------------------

    async def _propose_once(self, command: bytes, deadline_s: float) -> store_pb2.Outcome:
        proposals: list[Proposal] = []

        def here(replica: Replica, sink: Sink[store_pb2.Outcome]) -> None:
            proposals.append(replica.proposals.offer(command, sink))

        def there(replica: Replica, leader: NodeId, sink: Sink[store_pb2.Outcome]) -> int:
            return replica.forwards.propose(leader, command, sink)

        await self._wait_for_leader(deadline_s)
        if self._clock.monotonic_s() >= deadline_s:
            raise DeadlineExceeded("the time for the write was over before it was proposed; nothing happened")
        try:
            return await self._ask(here, there, deadline_s)
        except TimeoutError:
            if proposals and not proposals[0].admitted:
                raise DeadlineExceeded("the write was still queued when its time was over; nothing happened") from None
            raise OutcomeUnknown(
                "no majority confirmed the write in time: it may or may not have happened; retry under the same "
                "write id",
                retry_after_s=0.05,
            ) from None
        finally:
            for proposal in proposals:
                proposal.cancelled = True  # has no effect once it is in the log

    async def _read_index_once(self, deadline_s: float) -> LogIndex:
        def here(replica: Replica, sink: Sink[LogIndex]) -> None:
            replica.reads.ask(sink)

        def there(replica: Replica, leader: NodeId, sink: Sink[LogIndex]) -> int:
            return replica.forwards.read_index(leader, sink)

        await self._wait_for_leader(deadline_s)
        try:
            return await self._ask(here, there, deadline_s)
        except TimeoutError:
            raise DeadlineExceeded("no majority confirmed the read in time") from None

    async def _ask(
        self,
        here: Callable[[Replica, Sink[T]], None],
        there: Callable[[Replica, NodeId, Sink[T]], int],
        deadline_s: float,
    ) -> T:
        """Asks the leader as of now, and waits for its answer. Raises what it answers, NotLeader, TimeoutError."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        request_id: int | None = None
        replica = self._replica()
        leader = replica.graft.leader
        if replica.graft.is_leader:
            here(replica, _settles(answer))
        elif leader is not None:
            request_id = there(replica, leader, _settles(answer))
        else:
            raise NotLeader("the leader was lost meanwhile")
        self._wake()
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self._clock.monotonic_s())):
                return await answer
        finally:
            if request_id is not None:
                self._replica().forwards.forget(request_id)

    async def _wait_for_leader(self, deadline_s: float) -> None:
        """Waits for a leader that can be reached, for one election timeout at most. Raises NoLeader."""
        wait_s = min(deadline_s - self._clock.monotonic_s(), self._settings.timing.election_timeout_max_s)
        if self._reaches_leader():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leader_waits.add(waiter)
        try:
            async with asyncio.timeout(max(0.0, wait_s)):
                await waiter
        except TimeoutError:
            links = len(self._replica().linked)
            raise NoLeader(
                f"no leader can be reached from this node ({links} of {len(self._settings.peers)} peers linked): an "
                "election is under way, or the node is cut off from the majority; retry, or ask another node",
                retry_after_s=self._settings.timing.election_timeout_min_s / 2,
            ) from None
        finally:
            self._leader_waits.discard(waiter)

    def _reaches_leader(self) -> bool:
        replica = self._replica()
        leader = replica.graft.leader
        if leader == self._settings.node_id:
            return replica.graft.is_leader
        return leader is not None and replica.link_epoch(leader) is not None


def _settles(answer: "asyncio.Future[T]") -> Sink[T]:
    def settle(result: T | ReplicatorError) -> None:
        if answer.done():  # the caller gave up
            return
        if isinstance(result, ReplicatorError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    return settle
