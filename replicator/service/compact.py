"""Compact: history before a revision is forgotten, on all nodes at the same place of the log."""

from dataclasses import dataclass

from replicator.model.clock import Clock
from replicator.model.deadline import Deadline
from replicator.service.one_command import propose_one
from replicator.service.ports import EnginePort
from replicator.service.validate import refuse
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
        done, token, _ = await propose_one(self._engine, batch, None, deadline)
        return Compaction(done.revision, token)
