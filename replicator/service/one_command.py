"""One command into the log, and what became of it: writes, transactions and compactions go the same way."""

from typing import NamedTuple

from replicator.machine.outcomes import REJECTED, CommandOutcome, outcome_at
from replicator.model.causal_token import CausalToken, token_scope
from replicator.model.deadline import Deadline
from replicator.model.errors import Internal
from replicator.model.ids import LogIndex, Revision
from replicator.service.ports import EnginePort
from replicator.service.validate import WriteId, check_write_id
from replicator.service.write_batch import outcome_error
from replicator.v1 import store_pb2


class Told(NamedTuple):
    """What a command did. token: covers it. outcome: that of its batch."""

    done: CommandOutcome
    token: str
    outcome: store_pb2.BatchOutcome


async def propose_one(
    engine: EnginePort, batch: store_pb2.CommandBatch, write_id: WriteId | None, deadline: Deadline
) -> Told:
    """batch: of one command, without a name. Raises what the engine raises, and what the state machine refused."""
    if write_id is not None:
        check_write_id(write_id)
        batch.client_id = write_id.client_id
        batch.first_sequence = write_id.sequence
        batch.oldest_pending = write_id.oldest_pending
        batch.issued_ms = write_id.issued_ms
    outcome = await engine.propose(batch.SerializeToString(), timeout_s=deadline.require_s())
    if not outcome.reason and not outcome.revisions:
        raise Internal(f"the outcome at index {outcome.index} is empty; its node runs an incompatible release")
    done = outcome_at(outcome, 0)
    if done.status == REJECTED:
        raise outcome_error(engine, outcome, done.reason, done.message)
    token = CausalToken(LogIndex(outcome.index), Revision(done.revision)).encode(token_scope(engine.founder))
    return Told(done, token, outcome)
