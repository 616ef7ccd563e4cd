"""A batch of writes in columns: what a caller may send, and what comes of it.

A batch is the unit of exactly-once: its writes have sequences without a gap, and a retry sends all of it again,
unchanged. It is not atomic: each write has its own result.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from replicator.machine.outcomes import COMPARE_FAILED, UNCHANGED
from replicator.model.causal_token import CausalToken, token_scope
from replicator.model.deadline import Deadline
from replicator.model.errors import (
    LOG_TIME_KEY,
    Internal,
    Overloaded,
    ReplicatorError,
    SessionExpired,
    error_from_reason,
)
from replicator.model.ids import LogIndex
from replicator.model.limits import FOUND_BYTES_MAX
from replicator.model.values import KeyValue
from replicator.service.ports import EnginePort
from replicator.service.validate import (
    WriteId,
    at_position,
    check_keys,
    check_operations,
    check_values,
    check_write_id,
    refuse,
)
from replicator.v1 import kv_pb2, store_pb2

_PUT: Final = kv_pb2.WRITE_KIND_PUT
_DELETE: Final = kv_pb2.WRITE_KIND_DELETE
_COMPARE_AND_SET: Final = kv_pb2.WRITE_KIND_COMPARE_AND_SET
_UINT64_MAX: Final = (1 << 64) - 1
_KINDS: Final = frozenset((_PUT, _DELETE, _COMPARE_AND_SET))
_COMMAND_OF: Final[dict[int, store_pb2.CommandBatch.Kind.ValueType]] = {
    _PUT: store_pb2.CommandBatch.KIND_PUT,
    _DELETE: store_pb2.CommandBatch.KIND_DELETE,
    _COMPARE_AND_SET: store_pb2.CommandBatch.KIND_COMPARE_AND_SET,
}


@dataclass(frozen=True, slots=True)
class WriteColumns:
    """See WriteBatch in kv.proto. client_id: empty for writes without ids."""

    client_id: bytes
    first_sequence: int
    oldest_pending: int
    issued_ms: int
    kinds: Sequence[int]
    keys: Sequence[bytes]
    values: Sequence[bytes]
    expected_revisions: Sequence[int]


@dataclass(slots=True)
class BatchWritten:
    """revisions: one for each write. unchanged: positions of those that changed nothing.

    found: of lost comparisons, where the key exists. errors: refusals of single writes. token: covers all.
    """

    revisions: list[int]
    token: str
    unchanged: list[int] = field(default_factory=list)
    found: list[tuple[int, KeyValue]] = field(default_factory=list)
    errors: list[tuple[int, ReplicatorError]] = field(default_factory=list)


def check_batch(batch: WriteColumns) -> None:
    """Raises InvalidArgument; if one write is at fault, `position` in its metadata names it."""
    count = len(batch.keys)
    check_operations(count)
    kinds = batch.kinds
    if len(kinds) not in (0, count):
        raise refuse("kinds", f"has {len(kinds)} entries for {count} keys; it has one for each, or none")
    if not _KINDS.issuperset(kinds):
        position, kind = next((at, kind) for at, kind in enumerate(kinds) if kind not in _KINDS)
        raise at_position(refuse("kinds", f"has {kind}, which this node does not know; upgrade it"), position)
    _check_count("values", batch.values, count - kinds.count(_DELETE), "puts and compare-and-sets")
    _check_count("expected_revisions", batch.expected_revisions, kinds.count(_COMPARE_AND_SET), "compare-and-sets")
    check_keys(batch.keys)
    check_values(batch.values, [at for at, kind in enumerate(kinds) if kind != _DELETE] or range(count))
    if batch.client_id or batch.first_sequence or batch.oldest_pending:
        last = batch.first_sequence + count - 1
        if last > _UINT64_MAX:
            raise refuse("first_sequence", f"is {batch.first_sequence}, too great for {count} writes")
        for sequence in (batch.first_sequence, last):
            check_write_id(WriteId(batch.client_id, sequence, batch.oldest_pending, batch.issued_ms))


def _check_count(field_name: str, column: Sequence[object], count: int, what: str) -> None:
    if len(column) != count:
        raise refuse(field_name, f"has {len(column)} entries for {count} {what}; each has one")


async def propose_batch(engine: EnginePort, batch: WriteColumns, deadline: Deadline) -> BatchWritten:
    """Replicates a checked batch. Raises what the engine raises: a retry is then safe with write ids only."""
    command = store_pb2.CommandBatch(
        client_id=batch.client_id,
        first_sequence=batch.first_sequence,
        oldest_pending=batch.oldest_pending,
        issued_ms=batch.issued_ms,
        kinds=[_COMMAND_OF[kind] for kind in batch.kinds],
        keys=batch.keys,
        values=batch.values,
        expected_revisions=batch.expected_revisions,
    )
    outcome = await engine.propose(command.SerializeToString(), timeout_s=deadline.require_s())
    return _written(engine, outcome, batch.keys)


def _written(engine: EnginePort, outcome: store_pb2.BatchOutcome, keys: Sequence[bytes]) -> BatchWritten:
    if outcome.reason:
        raise outcome_error(engine, outcome, outcome.reason, outcome.message)
    if len(outcome.revisions) != len(keys):
        raise Internal(f"the outcome at index {outcome.index} is not whole; its node runs an incompatible release")
    token = CausalToken(LogIndex(outcome.index)).encode(token_scope(engine.founder))
    written = BatchWritten(list(outcome.revisions), token)
    omitted = set()
    for found in outcome.found:
        if found.value_omitted:
            omitted.add(found.position)
            written.errors.append((found.position, _too_much_found()))
        else:
            key, numbers = keys[found.position], (found.create_revision, found.mod_revision, found.version)
            written.found.append((found.position, KeyValue(key, found.value, *numbers)))
    for rejection in outcome.rejections:
        error = outcome_error(engine, outcome, rejection.reason, rejection.message)
        written.errors.append((rejection.position, error))
    written.unchanged += [
        position
        for position, status in enumerate(outcome.statuses)
        if status in (UNCHANGED, COMPARE_FAILED) and position not in omitted
    ]
    written.errors.sort(key=itemgetter(0))
    return written


def outcome_error(engine: EnginePort, outcome: store_pb2.BatchOutcome, reason: str, message: str) -> ReplicatorError:
    """What the state machine refused, with what helps to go on: a client that was forgotten draws its next id by it."""
    facts = {"index": str(outcome.index)}
    if reason == SessionExpired.reason:
        facts[LOG_TIME_KEY] = str(engine.status().log_time_ms)
    return error_from_reason(reason, message, metadata=facts)


def _too_much_found() -> Overloaded:
    return Overloaded(
        f"this comparison failed, and what those of its batch found is more than {FOUND_BYTES_MAX} bytes; send it "
        "again, in another batch",
        metadata={"limit": str(FOUND_BYTES_MAX)},
        retry_after_s=0.0,
    )
