"""Writes of one client: each batch has a name under which it is sent, and sent again, whole and unchanged."""

from collections.abc import Sequence
from typing import Final

from replicator.client import convert
from replicator.client.batch_exchange import BatchAnswer
from replicator.client.failover import Call, Failover, Progress
from replicator.client.group_time import GroupTime
from replicator.client.lanes import BATCHES_IN_FLIGHT_MAX, WRAPPING_BYTES, Batch, Lane, Operation, Places, fail
from replicator.client.transaction_messages import TxnTold, txn_result
from replicator.client.wire_errors import error_of_status
from replicator.client.write_window import BatchName, WriteWindow
from replicator.model.errors import Internal, Overloaded, ReplicatorError, SessionExpired
from replicator.v1 import kv_pb2

# A fresh client id is refused only if its first writes were all given up before one arrived. Seen once, not for ever.
CLIENT_IDS_PER_WRITE_MAX: Final = 3

_DELETE: Final = kv_pb2.WRITE_KIND_DELETE
_COMPARE_AND_SET: Final = kv_pb2.WRITE_KIND_COMPARE_AND_SET
_TRANSACTION: Final = kv_pb2.WRITE_KIND_TRANSACTION
_WITHOUT_VALUE: Final = frozenset((_DELETE, _TRANSACTION))


class WriteLane(Lane):
    """All writes of a client."""

    def __init__(self, failover: Failover, group_time: GroupTime) -> None:
        super().__init__(failover, Places(BATCHES_IN_FLIGHT_MAX))
        self._group_time = group_time
        self._window = WriteWindow(group_time.now_ms)
        self._windows: dict[Batch, tuple[WriteWindow, BatchName]] = {}

    def _room(self) -> int:
        return self._window.room()

    def _sealed(self, operations: Sequence[Operation]) -> Batch:
        name = self._window.take(len(operations))
        write = kv_pb2.WriteBatch(
            client_id=name.client_id,
            first_sequence=name.first_sequence,
            oldest_pending=name.oldest_pending,
            issued_ms=name.issued_ms,
            keys=[operation.key for operation in operations if operation.kind != _TRANSACTION],
            transactions=[operation.transaction for operation in operations if operation.transaction is not None],
        )
        kinds = [operation.kind for operation in operations]
        if any(kinds):  # something else than puts
            write.kinds.extend(kinds)
        write.values.extend([operation.value for operation in operations if operation.kind not in _WITHOUT_VALUE])
        write.expected_revisions.extend(
            [operation.expected_revision for operation in operations if operation.kind == _COMPARE_AND_SET]
        )
        batch = Batch(operations, kv_pb2.BatchRequest(write=write), Progress(is_write=True))
        self._windows[batch] = self._window, name
        return batch

    def _call(self, batch: Batch) -> Call[BatchAnswer]:
        request = batch.request
        return Call(
            lambda connection, left_s, patience_s: connection.writes.ask(request, left_s, patience_s),
            is_write=True,
            to_leader=True,
            request_bytes=request.ByteSize() + WRAPPING_BYTES,
        )

    def _deliver(self, batch: Batch, answer: BatchAnswer) -> list[Operation]:
        written = answer.response.written
        operations, revisions, token = batch.operations, list(written.revisions), written.token
        if len(revisions) != len(operations):
            raise Internal(f"a node answered {len(revisions)} writes of a batch of {len(operations)}")
        unchanged = set(written.unchanged)
        found = {entry.position: entry.pair for entry in written.found}
        transacted = {entry.position: entry.result for entry in written.transactions}
        refusals = {entry.position: entry.error for entry in written.errors}
        again: list[Operation] = []
        for position, (operation, revision) in enumerate(zip(operations, revisions, strict=True)):
            if position in refusals:
                error = error_of_status(refusals[position], answer.node_id, is_write=True)
                if self._is_to_be_sent_again(batch, operation, error):
                    again.append(operation)
            elif operation.transaction is not None:
                done = transacted.get(position)
                _end_transaction(operation, done, TxnTold(revision, token, written.duplicate))
            elif not operation.ended.done():
                changed = position not in unchanged
                operation.ended.set_result(
                    convert.write_result(operation.kind, revision, token, found.get(position), changed=changed)
                )
        return again

    def _is_to_be_sent_again(self, batch: Batch, operation: Operation, error: ReplicatorError) -> bool:
        """What the refusal of one write of a batch means. False: the call has ended."""
        if isinstance(error, Overloaded):
            return True  # it found no room: for what a lost comparison found, or for what a transaction reads
        if isinstance(error, SessionExpired) and not batch.progress.may_have_happened:
            return self._renewed(batch, operation, error)
        fail(operation, batch.progress.judged(error))
        return False

    def _refused(self, batch: Batch, error: ReplicatorError) -> list[Operation]:
        if not isinstance(error, SessionExpired):
            return super()._refused(batch, error)
        return [operation for operation in batch.operations if self._renewed(batch, operation, error)]

    def _renewed(self, batch: Batch, operation: Operation, error: SessionExpired) -> bool:
        """True if the write may be sent under a new client id: surely, no attempt has happened. Else it has failed."""
        operation.new_ids += 1
        if operation.new_ids >= CLIENT_IDS_PER_WRITE_MAX:
            fail(operation, error)
            return False
        if self._window is self._windows[batch][0]:  # the first to meet it draws the new id for all
            self._group_time.refused(error)
            self._window = WriteWindow(self._group_time.now_ms)
        return True

    def _released(self, batch: Batch) -> None:
        window, name = self._windows.pop(batch)
        window.release(name)


def _end_transaction(operation: Operation, done: kv_pb2.TransactionResult | None, told: TxnTold) -> None:
    assert operation.transaction is not None
    try:
        if done is None:
            raise ValueError("there is none")
        result = txn_result(done, operation.transaction, told)
    except ValueError as problem:
        fail(operation, Internal(f"a node's result of a transaction does not fit what was asked: {problem}"))
        return
    if not operation.ended.done():
        operation.ended.set_result(result)
