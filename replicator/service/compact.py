"""Compact: history before a revision is forgotten, on all nodes at the same place of the log."""

from dataclasses import dataclass

from replicator.machine.outcomes import REJECTED, outcome_at
from replicator.model.causal_token import CausalToken, token_scope
from replicator.model.clock import Clock
from replicator.model.deadline import Deadline
from replicator.model.errors import Internal
from replicator.model.ids import LogIndex, Revision
from replicator.service.ports import EnginePort
from replicator.service.validate import refuse
from replicator.service.write_batch import outcome_error
from replicator.v1 import store_pb2

_U64_MAX = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Compaction:
    """revision: of the store. token: covers it."""

    revision: int
    token: str


class CompactService:
    """A compaction that was done already is refused with Compacted: a retry may find its own first attempt."""

    def __init__(self, engine: EnginePort, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    async def compact(self, revision: int, *, timeout_s: float) -> Compaction:
        """Raises InvalidArgument beyond the store's revision, Compacted if history begins there or later already."""
        if not 1 <= revision <= _U64_MAX:
            raise refuse("revision", "is 0; it is the oldest revision that reads and watches still go back to")
        deadline = Deadline.after(timeout_s, self._clock.monotonic_s)
        batch = store_pb2.CommandBatch(kinds=(store_pb2.CommandBatch.KIND_COMPACT,), expected_revisions=(revision,))
        outcome = await self._engine.propose(batch.SerializeToString(), timeout_s=deadline.require_s())
        if not outcome.reason and not outcome.revisions:
            raise Internal(f"the outcome at index {outcome.index} is empty; its node runs an incompatible release")
        done = outcome_at(outcome, 0)
        if done.status == REJECTED:
            raise outcome_error(self._engine, outcome, done.reason, done.message)
        token = CausalToken(LogIndex(outcome.index), Revision(done.revision))
        return Compaction(done.revision, token.encode(token_scope(self._engine.founder)))
