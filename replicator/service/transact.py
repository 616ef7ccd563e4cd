"""Transactions: compares and two branches, as one command into the log; what they did, back.

All of them go through the log, those that only read too: so each is linearizable, and a retry gets the first answer.
"""

from dataclasses import dataclass

from replicator.machine.outcomes import REJECTED, outcome_at
from replicator.model.causal_token import CausalToken, token_scope
from replicator.model.clock import Clock
from replicator.model.deadline import Deadline
from replicator.model.errors import Internal
from replicator.model.ids import LogIndex, Revision
from replicator.service.ports import EnginePort
from replicator.service.validate import WriteId, check_transaction, check_write_id
from replicator.service.write_batch import outcome_error
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
        if write_id is not None:
            check_write_id(write_id)
            batch.client_id = write_id.client_id
            batch.first_sequence = write_id.sequence
            batch.oldest_pending = write_id.oldest_pending
            batch.issued_ms = write_id.issued_ms
        outcome = await self._engine.propose(batch.SerializeToString(), timeout_s=deadline.require_s())
        return self._answer(outcome)

    def _answer(self, outcome: store_pb2.BatchOutcome) -> Transacted:
        if not outcome.reason and not outcome.revisions:
            raise Internal(f"the outcome at index {outcome.index} is empty; its node runs an incompatible release")
        done = outcome_at(outcome, 0)
        if done.status == REJECTED:
            raise outcome_error(self._engine, outcome, done.reason, done.message)
        if done.result is None:
            raise Internal(f"the outcome at index {outcome.index} is no transaction's; its node is of another release")
        token = CausalToken(LogIndex(outcome.index), Revision(done.revision))
        return Transacted(
            done.result, done.revision, token.encode(token_scope(self._engine.founder)), outcome.duplicate
        )
