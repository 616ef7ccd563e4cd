"""Transactions: compares and two branches, as one command into the log; what they did, back.

All of them go through the log, those that only read too: so each is linearizable, and a retry gets the first answer.
"""

from dataclasses import dataclass

from replicator.model.clock import Clock
from replicator.model.deadline import Deadline
from replicator.model.errors import Internal
from replicator.service.one_command import propose_one
from replicator.service.ports import EnginePort
from replicator.service.validate import WriteId, check_transaction
from replicator.v1 import kv_pb2, store_pb2


@dataclass(frozen=True, slots=True)
class Transacted:
    """revision: that of its changes, of the store if it made none. duplicate: an earlier attempt had this result."""

    result: kv_pb2.TransactionResult
    revision: int
    token: str
    duplicate: bool


class TransactService:
    """Exactly-once with a write id, as every write; without one, a retry may apply twice."""

    def __init__(self, engine: EnginePort, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    async def run(self, transaction: kv_pb2.Transaction, write_id: WriteId | None, *, timeout_s: float) -> Transacted:
        """Raises InvalidArgument, naming the field at fault, and what the engine raises."""
        deadline = Deadline.after(timeout_s, self._clock.monotonic_s)
        check_transaction(transaction)
        batch = store_pb2.CommandBatch(
            kinds=(store_pb2.CommandBatch.KIND_TRANSACTION,), transactions=(transaction.SerializeToString(),)
        )
        done, token, outcome = await propose_one(self._engine, batch, write_id, deadline)
        if done.result is None:
            raise Internal(f"the outcome at index {outcome.index} is no transaction's; its node is of another release")
        return Transacted(done.result, done.revision, token, outcome.duplicate)
