"""Batches to plain columns and back. Nothing here costs a message or an object for each operation."""

from replicator.api.grpc_status import status_bytes
from replicator.api.native.convert import key_value
from replicator.service.read import FoundBatch
from replicator.service.write_batch import BatchWritten, WriteColumns
from replicator.v1 import kv_pb2


def write_columns(batch: kv_pb2.WriteBatch) -> WriteColumns:
    """As they were sent; `check_batch` judges them."""
    return WriteColumns(
        client_id=batch.client_id,
        first_sequence=batch.first_sequence,
        oldest_pending=batch.oldest_pending,
        issued_ms=batch.issued_ms,
        kinds=list(batch.kinds),
        keys=list(batch.keys),
        values=list(batch.values),
        expected_revisions=list(batch.expected_revisions),
        transactions=list(batch.transactions),
    )


def written_result(written: BatchWritten) -> kv_pb2.WriteBatchResult:
    return kv_pb2.WriteBatchResult(
        revisions=written.revisions,
        unchanged=written.unchanged,
        found=[kv_pb2.FoundPair(position=position, pair=key_value(kv)) for position, kv in written.found],
        errors=[
            kv_pb2.PositionError(position=position, error=status_bytes(error)) for position, error in written.errors
        ],
        token=written.token,
        transactions=[
            kv_pb2.PositionedResult(position=position, result=result) for position, result in written.transacted
        ],
        duplicate=written.duplicate,
    )


def read_result(found: FoundBatch) -> kv_pb2.ReadBatchResult:
    columns = found.columns
    return kv_pb2.ReadBatchResult(
        mod_revisions=columns.mod_revisions,
        create_revisions=columns.create_revisions,
        versions=columns.versions,
        values=columns.values,
        revision=found.revision,
        token=found.token,
        staleness_ms=found.staleness_ms,
    )
