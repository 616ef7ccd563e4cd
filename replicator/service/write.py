"""Put, delete and compare-and-set: one command each into the log, one outcome back.

The outcome is computed by the state machine, the same on every node; here it only becomes an answer or an error.
"""

from dataclasses import dataclass

from replicator.core.causal_token import CausalToken, token_scope
from replicator.model.deadline import Deadline
from replicator.model.errors import Internal, error_from_reason
from replicator.model.ids import LogIndex
from replicator.model.values import KeyValue
from replicator.service.ports import EnginePort
from replicator.service.validate import WriteId, check_key, check_value, check_write_id
from replicator.v1 import store_pb2

_Status = store_pb2.Outcome.Status


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

    def __init__(self, engine: EnginePort) -> None:
        self._engine = engine

    async def put(self, key: bytes, value: bytes, write_id: WriteId | None, *, timeout_s: float) -> Written:
        check_key(key)
        check_value(value)
        command = store_pb2.Command(put=store_pb2.PutOperation(key=key, value=value))
        return await self._propose(command, write_id, timeout_s)

    async def delete(self, key: bytes, write_id: WriteId | None, *, timeout_s: float) -> Written:
        check_key(key)
        command = store_pb2.Command(delete=store_pb2.DeleteOperation(key=key))
        return await self._propose(command, write_id, timeout_s)

    async def compare_and_set(
        self, key: bytes, value: bytes, expected_revision: int, write_id: WriteId | None, *, timeout_s: float
    ) -> Written:
        """expected_revision: the mod_revision that the key must have; 0: the key must not exist."""
        check_key(key)
        check_value(value)
        operation = store_pb2.CompareAndSetOperation(key=key, value=value, expected_revision=expected_revision)
        return await self._propose(store_pb2.Command(compare_and_set=operation), write_id, timeout_s)

    async def _propose(self, command: store_pb2.Command, write_id: WriteId | None, timeout_s: float) -> Written:
        deadline = Deadline.after(timeout_s)
        if write_id is not None:
            check_write_id(write_id)
            command.write_id.client_id = write_id.client_id
            command.write_id.sequence = write_id.sequence
            command.write_id.oldest_pending = write_id.oldest_pending
        outcome = await self._engine.propose(command.SerializeToString(), timeout_s=deadline.require_s())
        return self._answer(outcome)

    def _answer(self, outcome: store_pb2.Outcome) -> Written:
        if outcome.status == _Status.STATUS_REJECTED:
            raise error_from_reason(outcome.reason, outcome.message, metadata={"index": str(outcome.index)})
        if outcome.status == _Status.STATUS_UNSPECIFIED:
            raise Internal(f"the outcome at index {outcome.index} has no status; its node runs an incompatible release")
        return Written(
            changed=outcome.status == _Status.STATUS_APPLIED,
            revision=outcome.revision,
            token=CausalToken(LogIndex(outcome.index)).encode(token_scope(self._engine.founder)),
            current=_current(outcome),
        )


def _current(outcome: store_pb2.Outcome) -> KeyValue | None:
    if not outcome.HasField("current"):
        return None
    kv = outcome.current
    return KeyValue(
        key=kv.key,
        value=kv.value,
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        version=kv.version,
    )
