"""Reads of one client: those that ask the same of a replica share batches."""

from collections.abc import Sequence
from typing import Final

from replicator.client.batch_exchange import BatchAnswer
from replicator.client.failover import Call, Failover, Progress
from replicator.client.lanes import WRAPPING_BYTES, Batch, Lane, Operation, Places
from replicator.model.errors import Internal
from replicator.model.values import GetResult
from replicator.v1 import kv_pb2

# Of all lanes together: a read may wait long for its moment, and must not hold up reads that ask for less.
READ_BATCHES_IN_FLIGHT_MAX: Final = 64


class ReadLane(Lane):
    """Reads with equal options."""

    def __init__(self, failover: Failover, places: Places, options: kv_pb2.ReadOptions) -> None:
        super().__init__(failover, places)
        self._options = options

    def _room(self) -> int:
        return 1 << 30  # what one batch holds is bounded anyway

    def _sealed(self, operations: Sequence[Operation]) -> Batch:
        read = kv_pb2.ReadBatch(keys=[operation.key for operation in operations], options=self._options)
        return Batch(operations, kv_pb2.BatchRequest(read=read), Progress(is_write=False))

    def _call(self, batch: Batch) -> Call[BatchAnswer]:
        request = batch.request
        return Call(
            lambda connection, left_s, patience_s: connection.reads.ask(request, left_s, patience_s),
            is_write=False,
            to_leader=False,
            request_bytes=request.ByteSize() + WRAPPING_BYTES,
        )

    def _deliver(self, batch: Batch, answer: BatchAnswer) -> list[Operation]:
        read, node_id, region = answer.response.read, answer.node_id, answer.region
        revision, token = read.revision, read.token
        staleness_ms = read.staleness_ms if read.HasField("staleness_ms") else None
        answered = len(read.mod_revisions)
        if not 1 <= answered <= len(batch.operations):
            raise Internal(f"a node answered {answered} reads of a batch of {len(batch.operations)}")
        columns = zip(
            batch.operations, read.values, read.mod_revisions, read.create_revisions, read.versions, strict=False
        )
        for operation, value, mod_revision, create_revision, version in columns:
            if not operation.ended.done():
                operation.ended.set_result(
                    GetResult(
                        operation.key,
                        value if mod_revision else None,
                        mod_revision,
                        create_revision,
                        version,
                        revision,
                        token,
                        staleness_ms,
                        node_id,
                        region,
                    )
                )
        return list(batch.operations[answered:])

    def _released(self, batch: Batch) -> None:
        """A read holds nothing."""
