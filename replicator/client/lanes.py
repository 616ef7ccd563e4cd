"""Calls gather in a lane, and leave in batches.

A call leaves at the end of the loop iteration in which it was made, with all others of that iteration. While
BATCHES_IN_FLIGHT_MAX batches are under way, calls gather for the next one. So a lone call waits for nothing, and the
busier a client is, the larger its batches.

Invariant: each call that was added ends exactly once: by a result, by an error of its own, or by its caller's
cancellation.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from replicator.client.batch_exchange import BatchAnswer
from replicator.client.failover import Call, Failover, Progress
from replicator.client.wire_errors import same_again
from replicator.model.deadline import Deadline
from replicator.model.errors import DeadlineExceeded, Internal, Overloaded, ReplicatorError, Unavailable
from replicator.model.limits import BATCH_OPERATIONS_MAX
from replicator.v1 import kv_pb2

_log = logging.getLogger(__name__)

BATCHES_IN_FLIGHT_MAX: Final = 4  # of one lane
BATCH_BYTES_MAX: Final = 1 << 20  # keys and values; one call alone may exceed it
CALLS_WAITING_MAX: Final = 16_384
WRAPPING_BYTES: Final = 32  # at most, around a batch that is sent alone in its message, id and time included
POSITION_KEY: Final = "position"  # in an error's metadata: the operation of the batch that is at fault
# A batch ends by its own deadline, the latest of its calls, and then knows most. Others are ended by the sweep.
SWEEP_SLACK_S: Final = 0.05
_BACKSTOP_S: Final = 5.0


@dataclass(slots=True, eq=False)
class Operation:
    """One call. ends_s: its deadline on the monotonic clock. The fields after `key` are for writes."""

    ended: "asyncio.Future[Any]"
    ends_s: float
    key: bytes
    value: bytes = b""
    kind: "kv_pb2.WriteKind.ValueType" = kv_pb2.WRITE_KIND_PUT
    expected_revision: int = 0
    new_ids: int = 0  # how often its client id turned out to be forgotten
    transaction: kv_pb2.Transaction | None = None

    @property
    def size_bytes(self) -> int:
        """Of what makes a batch long."""
        transaction_bytes = 0 if self.transaction is None else self.transaction.ByteSize()
        return len(self.key) + len(self.value) + transaction_bytes


@dataclass(slots=True, eq=False)
class Batch:
    """What is sent as a unit, and again as a unit."""

    operations: Sequence[Operation]
    request: kv_pb2.BatchRequest
    progress: Progress
    name: Any = None  # a lane's own
    task: "asyncio.Task[list[Operation]] | None" = None
    next_end_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.next_end_s = min(operation.ends_s for operation in self.operations)

    @property
    def ends_s(self) -> float:
        return max(operation.ends_s for operation in self.operations)

    @property
    def is_abandoned(self) -> bool:
        return all(operation.ended.done() for operation in self.operations)


class Places:
    """Batches that may be under way at a time, over the lanes that share them; and the calls that wait in those."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._next: dict[Lane, None] = {}
        self.waiting_calls = 0

    def take(self, lane: "Lane") -> bool:
        """False: the lane is told when there is a place."""
        if self._free == 0:
            self._next[lane] = None
            return False
        self._free -= 1
        return True

    def give_back(self) -> None:
        self._free += 1
        self.tell_next()

    def tell_next(self) -> None:
        """If a place is free, the lane that has waited longest may take it, or tell the next one."""
        if self._free and self._next:
            lane = next(iter(self._next))
            del self._next[lane]
            lane.plan()


class Lane(ABC):
    """Calls that may share a batch."""

    def __init__(self, failover: Failover, places: Places) -> None:
        self._failover = failover
        self._places = places
        self._waiting: deque[Operation] = deque()
        self._next_end_s = inf  # of those waiting; may be too early, never too late
        self._under_way: set[Batch] = set()
        self._is_planned = self._is_review_planned = self._is_closed = False

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._under_way

    def add(self, operation: Operation) -> None:
        """Raises Overloaded, or Unavailable once closed: it was not added."""
        if self._is_closed:
            raise Unavailable("the client is closed; nothing happened")
        if self._places.waiting_calls >= CALLS_WAITING_MAX:
            raise Overloaded(
                f"{CALLS_WAITING_MAX} calls of this client wait already to be sent; slow down",
                metadata={"limit": str(CALLS_WAITING_MAX)},
            )
        self._waiting.append(operation)
        self._places.waiting_calls += 1
        self._next_end_s = min(self._next_end_s, operation.ends_s)
        if not self._is_planned:
            self.plan()

    def plan(self) -> None:
        """What waits leaves at the end of this loop iteration."""
        if not self._is_planned:
            self._is_planned = True
            asyncio.get_running_loop().call_soon(self._send_off)

    def note_gone(self) -> None:
        """A caller was cancelled: what nobody waits for is given up, once for all that go in this loop iteration."""
        if not self._is_review_planned:
            self._is_review_planned = True
            asyncio.get_running_loop().call_soon(self._review)

    def sweep(self, now_s: float) -> None:
        """Ends calls whose deadline is over."""
        if now_s >= self._next_end_s:
            for operation in self._waiting:
                if now_s >= operation.ends_s and not operation.ended.done():
                    operation.ended.set_exception(_never_sent())
            self._review()
        for batch in list(self._under_way):
            if now_s >= batch.next_end_s + SWEEP_SLACK_S:
                self._sweep_batch(batch, now_s)

    def close(self) -> None:
        """All calls end: as not sent, or as far as their batches got."""
        self._is_closed = True
        for operation in self._waiting:
            fail(operation, Unavailable("the client was closed before the call was sent; nothing happened"))
        self._review()
        for batch in self._under_way:
            if batch.task is not None:
                batch.task.cancel()

    async def wait_closed(self) -> None:
        """Returns once no batch is under way."""
        tasks = [batch.task for batch in self._under_way if batch.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    # What the kinds of lanes differ in

    @abstractmethod
    def _room(self) -> int:
        """How many operations the next batch may hold now."""

    @abstractmethod
    def _sealed(self, operations: Sequence[Operation]) -> Batch: ...

    @abstractmethod
    def _call(self, batch: Batch) -> Call[BatchAnswer]: ...

    @abstractmethod
    def _deliver(self, batch: Batch, answer: BatchAnswer) -> list[Operation]:
        """Ends the calls. Returns those that have to be asked again."""

    def _refused(self, batch: Batch, error: ReplicatorError) -> list[Operation]:
        """The batch failed as a whole. Ends its calls; returns those that may be sent again in another batch."""
        position = error.metadata.get(POSITION_KEY, "")
        if not position.isdecimal() or int(position) >= len(batch.operations) or error.applied != "no":
            fail_all(batch, error)
            return []
        at_fault = int(position)
        fail(batch.operations[at_fault], error)
        return [operation for at, operation in enumerate(batch.operations) if at != at_fault]

    @abstractmethod
    def _released(self, batch: Batch) -> None:
        """The batch has ended, whatever its end."""

    # ------------------------------------------------------------------------------------------------------------------

    def _send_off(self) -> None:
        self._is_planned = False
        self._fill()
        self._places.tell_next()

    def _fill(self) -> None:
        while self._waiting and len(self._under_way) < BATCHES_IN_FLIGHT_MAX:
            room = min(self._room(), BATCH_OPERATIONS_MAX)
            if room == 0 or not self._places.take(self):
                return
            operations = self._take(room)
            if not operations:
                self._places.give_back()
                return
            batch = self._sealed(operations)
            self._under_way.add(batch)
            batch.task = asyncio.create_task(self._run(batch), name="replicator-batch")
            batch.task.add_done_callback(lambda task, batch=batch: self._ended(batch, task))  # type: ignore[misc]

    def _take(self, count: int) -> list[Operation]:
        """The first ones that are still waited for."""
        taken: list[Operation] = []
        size = 0
        waiting = self._waiting
        while waiting and len(taken) < count:
            operation = waiting[0]
            if not operation.ended.done():
                size += operation.size_bytes
                if taken and size > BATCH_BYTES_MAX:
                    break
                taken.append(operation)
            waiting.popleft()
            self._places.waiting_calls -= 1
        if not waiting:
            self._next_end_s = inf
        return taken

    async def _run(self, batch: Batch) -> list[Operation]:
        """Returns what has to be asked again."""
        try:
            answer = await self._failover.run(self._call(batch), Deadline(batch.ends_s), batch.progress)
            return self._deliver(batch, answer)
        except ReplicatorError as error:
            return self._refused(batch, error)

    def _ended(self, batch: Batch, task: "asyncio.Task[list[Operation]]") -> None:
        """Whatever the end: a task that is cancelled before its first step runs none of its own code."""
        again: list[Operation] = []
        if task.cancelled():
            closed = Unavailable("the client was closed while the call was under way; nothing happened")
            fail_all(batch, batch.progress.cut_short(closed))
        elif (bug := task.exception()) is not None:
            _log.error("a batch ended unexpectedly", exc_info=bug)
            fail_all(batch, Internal("a bug of the client ended this call; its log says more"))
        else:
            again = task.result()
        self._under_way.discard(batch)
        self._released(batch)
        self._ask_again(again)
        self._places.give_back()
        self.plan()

    def _ask_again(self, operations: Sequence[Operation]) -> None:
        """Before those that wait: they have waited for longer."""
        for operation in reversed(operations):
            if self._is_closed:
                fail(operation, Unavailable("the client was closed before the call was sent again"))
            elif not operation.ended.done():
                self._waiting.appendleft(operation)
                self._places.waiting_calls += 1
                self._next_end_s = min(self._next_end_s, operation.ends_s)

    def _review(self) -> None:
        """Forgets calls that have ended while they waited, and gives up batches that nobody waits for."""
        self._is_review_planned = False
        before = len(self._waiting)
        self._waiting = deque(operation for operation in self._waiting if not operation.ended.done())
        self._places.waiting_calls -= before - len(self._waiting)
        self._next_end_s = min((operation.ends_s for operation in self._waiting), default=inf)
        for batch in self._under_way:
            if batch.is_abandoned and batch.task is not None:
                batch.task.cancel()

    def _sweep_batch(self, batch: Batch, now_s: float) -> None:
        late_s = batch.ends_s - SWEEP_SLACK_S
        left = [operation for operation in batch.operations if not operation.ended.done()]
        for operation in left:
            patience_s = SWEEP_SLACK_S if operation.ends_s < late_s else _BACKSTOP_S
            if now_s >= operation.ends_s + patience_s:
                fail(operation, batch.progress.cut_short(_too_late()))
        batch.next_end_s = min((operation.ends_s for operation in left if not operation.ended.done()), default=inf)
        if batch.is_abandoned and batch.task is not None:
            batch.task.cancel()


def fail_all(batch: Batch, error: ReplicatorError) -> None:
    for operation in batch.operations:
        fail(operation, error)


def fail(operation: Operation, error: ReplicatorError) -> None:
    if not operation.ended.done():
        operation.ended.set_exception(same_again(error))


def _never_sent() -> ReplicatorError:
    return DeadlineExceeded(
        "the calls before this one did not end in time for it to be sent; nothing happened, slow down or allow more "
        "time"
    )


def _too_late() -> ReplicatorError:
    return DeadlineExceeded("the deadline passed before a node answered")
