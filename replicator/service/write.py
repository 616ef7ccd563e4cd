"""Put, delete and compare-and-set, alone or in batches: commands into the log, outcomes back.

The outcome is computed by the state machine, the same on every node; here it only becomes an answer or an error.
"""

from dataclasses import dataclass, replace

from replicator.machine.outcomes import APPLIED
from replicator.model.clock import Clock
from replicator.model.deadline import Deadline
from replicator.model.values import KeyValue
from replicator.service.one_command import propose_one
from replicator.service.ports import EnginePort
from replicator.service.validate import WriteId, check_key, check_value
from replicator.service.write_batch import BatchWritten, WriteColumns, check_batch, propose_batch
from replicator.v1 import store_pb2

_Batch = store_pb2.CommandBatch


@dataclass(frozen=True, slots=True)
class Written:
    """changed: False if there was nothing to delete, or the comparison failed (`current` then holds what was found).

    revision: of this write if it changed something, of the store if not.
    """

    changed: bool
    revision: int
    token: str
    current: KeyValue | None


class WriteService:
    """Every write is linearizable, and exactly-once if it has a write id; without one, a retry may apply twice."""

    def __init__(self, engine: EnginePort, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    async def put(self, key: bytes, value: bytes, write_id: WriteId | None, *, timeout_s: float) -> Written:
        check_key(key)
        check_value(value)
        return await self._propose(_Batch(keys=(key,), values=(value,)), write_id, timeout_s)

    async def delete(self, key: bytes, write_id: WriteId | None, *, timeout_s: float) -> Written:
        check_key(key)
        return await self._propose(_Batch(kinds=(_Batch.KIND_DELETE,), keys=(key,)), write_id, timeout_s)

    async def compare_and_set(
        self, key: bytes, value: bytes, expected_revision: int, write_id: WriteId | None, *, timeout_s: float
    ) -> Written:
        """expected_revision: the mod_revision that the key must have; 0: the key must not exist."""
        check_key(key)
        check_value(value)
        kinds, expected = (_Batch.KIND_COMPARE_AND_SET,), (expected_revision,)
        batch = _Batch(kinds=kinds, keys=(key,), values=(value,), expected_revisions=expected)
        return await self._propose(batch, write_id, timeout_s)

    async def write_batch(self, batch: WriteColumns, *, timeout_s: float) -> BatchWritten:
        """Evaluated in the order of the batch, each write on its own. Raises as the others do, for all of it.

        Refusals that concern one write only are in the result, by position.
        """
        deadline = Deadline.after(timeout_s, self._clock.monotonic_s)
        check_batch(batch)
        return await propose_batch(self._engine, batch, deadline)

    async def _propose(self, batch: store_pb2.CommandBatch, write_id: WriteId | None, timeout_s: float) -> Written:
        deadline = Deadline.after(timeout_s, self._clock.monotonic_s)
        done, token, _ = await propose_one(self._engine, batch, write_id, deadline)
        current = None if done.current is None else replace(done.current, key=batch.keys[0])
        return Written(done.status == APPLIED, done.revision, token, current)
