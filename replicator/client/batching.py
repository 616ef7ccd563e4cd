"""The calls of a client that travel in batches: puts, deletes, compare-and-sets, transactions and gets.

One future and one small record a call; whatever else a call costs (attempts, deadlines, messages) is shared.
"""

import asyncio
import time
from collections.abc import Iterator
from itertools import chain
from typing import Final, TypeAlias, TypeVar

from replicator.client import convert
from replicator.client.failover import Failover
from replicator.client.group_time import GroupTime
from replicator.client.lanes import Lane, Operation, Places
from replicator.client.read_lane import READ_BATCHES_IN_FLIGHT_MAX, ReadLane
from replicator.client.transaction_messages import transaction_message
from replicator.client.write_lane import WriteLane
from replicator.model.transactions import Transaction, TxnResult
from replicator.model.values import CompareAndSetResult, Consistency, DeleteResult, GetResult, PutResult
from replicator.v1 import kv_pb2

SWEEP_EVERY_S: Final = 0.05

Result = TypeVar("Result")
_Level: TypeAlias = tuple[Consistency | None, str | None, int | None]


class Batching:
    """Used from one event loop."""

    def __init__(self, failover: Failover, group_time: GroupTime) -> None:
        self._failover = failover
        self._writes = WriteLane(failover, group_time)
        self._read_places = Places(READ_BATCHES_IN_FLIGHT_MAX)
        self._reads: dict[_Level, ReadLane] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def put(self, key: bytes, value: bytes, ends_s: float) -> PutResult:
        """ends_s, here and below: the deadline on the monotonic clock."""
        ended: asyncio.Future[PutResult] = asyncio.get_running_loop().create_future()
        return await self._through(self._writes, Operation(ended, ends_s, key, value, kv_pb2.WRITE_KIND_PUT), ended)

    async def delete(self, key: bytes, ends_s: float) -> DeleteResult:
        ended: asyncio.Future[DeleteResult] = asyncio.get_running_loop().create_future()
        return await self._through(self._writes, Operation(ended, ends_s, key, b"", kv_pb2.WRITE_KIND_DELETE), ended)

    async def compare_and_set(
        self, key: bytes, value: bytes, expected_revision: int, ends_s: float
    ) -> CompareAndSetResult:
        ended: asyncio.Future[CompareAndSetResult] = asyncio.get_running_loop().create_future()
        operation = Operation(ended, ends_s, key, value, kv_pb2.WRITE_KIND_COMPARE_AND_SET, expected_revision)
        return await self._through(self._writes, operation, ended)

    async def txn(self, transaction: Transaction, ends_s: float) -> TxnResult:
        """Raises InvalidArgument for what fits no message."""
        message = transaction_message(transaction)
        ended: asyncio.Future[TxnResult] = asyncio.get_running_loop().create_future()
        operation = Operation(ended, ends_s, b"", kind=kv_pb2.WRITE_KIND_TRANSACTION, transaction=message)
        return await self._through(self._writes, operation, ended)

    async def get(
        self,
        key: bytes,
        consistency: Consistency | None,
        token: str | None,
        max_staleness_ms: int | None,
        ends_s: float,
    ) -> GetResult:
        """Raises InvalidArgument for what fits no message."""
        level = (consistency, token, max_staleness_ms)
        lane = self._reads.get(level)
        if lane is None:
            options = convert.read_options(consistency, token, max_staleness_ms)
            lane = self._reads[level] = ReadLane(self._failover, self._read_places, options)
        ended: asyncio.Future[GetResult] = asyncio.get_running_loop().create_future()
        return await self._through(lane, Operation(ended, ends_s, key), ended)

    async def close(self) -> None:
        """Ends all calls; returns once nothing of them is under way."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for lane in self._lanes():
            lane.close()
        for lane in list(self._lanes()):
            await lane.wait_closed()

    async def _through(self, lane: Lane, operation: Operation, ended: "asyncio.Future[Result]") -> Result:
        lane.add(operation)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_EVERY_S, self._sweep)
        try:
            return await ended
        except asyncio.CancelledError:
            lane.note_gone()
            raise

    def _lanes(self) -> Iterator[Lane]:
        return chain((self._writes,), self._reads.values())

    def _sweep(self) -> None:
        """One timer for all calls; none while there are none."""
        now_s = time.monotonic()
        for lane in self._lanes():
            lane.sweep(now_s)
        self._reads = {level: lane for level, lane in self._reads.items() if not lane.is_idle}
        is_idle = self._writes.is_idle and not self._reads
        self._sweeper = None if is_idle else asyncio.get_running_loop().call_later(SWEEP_EVERY_S, self._sweep)
