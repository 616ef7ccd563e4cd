"""A node that is a function: what the SDK's batches are answered with, without a wire."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from replicator.api.grpc_status import status_bytes
from replicator.client.batch_exchange import BatchAnswer
from replicator.client.failover import Call, Failover, Progress
from replicator.model.deadline import Deadline
from replicator.model.errors import ReplicatorError
from replicator.v1 import kv_pb2

Answer = TypeVar("Answer")
Handler = Callable[[kv_pb2.BatchRequest], Awaitable[kv_pb2.BatchResponse]]


def written(
    batch: kv_pb2.WriteBatch, *, first_revision: int = 1, errors: Sequence[tuple[int, ReplicatorError]] = ()
) -> kv_pb2.BatchResponse:
    """All applied, in order, but for those with an error."""
    revisions = range(first_revision, first_revision + len(batch.keys))
    refusals = [kv_pb2.PositionError(position=position, error=status_bytes(error)) for position, error in errors]
    return kv_pb2.BatchResponse(
        written=kv_pb2.WriteBatchResult(revisions=revisions, errors=refusals, token="t"),
    )


def found(batch: kv_pb2.ReadBatch, *, count: int | None = None) -> kv_pb2.BatchResponse:
    """Each key holds itself. count: of those that are answered."""
    keys = batch.keys[:count]
    ones = [1] * len(keys)
    return kv_pb2.BatchResponse(
        read=kv_pb2.ReadBatchResult(
            values=keys, mod_revisions=ones, create_revisions=ones, versions=ones, revision=1, token="t"
        )
    )


@dataclass
class FakeExchange:
    """Stands in for client.batch_exchange.Exchange."""

    handler: Handler
    requests: list[kv_pb2.BatchRequest] = field(default_factory=list)

    async def ask(self, request: kv_pb2.BatchRequest, timeout_s: float, patience_s: float) -> BatchAnswer:
        copy = kv_pb2.BatchRequest()
        copy.CopyFrom(request)
        self.requests.append(copy)
        async with asyncio.timeout(timeout_s):
            return BatchAnswer(await self.handler(copy), "n1", "eu")


class FakeFailover:
    """One attempt a call. `writes` and `reads` keep what was sent."""

    def __init__(self, handler: Handler) -> None:
        self.writes, self.reads = FakeExchange(handler), FakeExchange(handler)

    async def run(self, call: Call[Answer], deadline: Deadline, progress: Progress | None = None) -> Answer:
        assert progress is not None
        connection: Any = self
        progress.is_out = True
        try:
            return await call.send(connection, deadline.left_s(), deadline.left_s())
        except ReplicatorError as error:
            progress.note(error, "nowhere")
            raise progress.verdict() from error
        except asyncio.CancelledError:
            progress.may_have_happened |= call.is_write
            raise
        finally:
            progress.is_out = False

    def as_failover(self) -> Failover:
        return cast(Failover, self)
