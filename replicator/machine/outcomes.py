"""Outcomes of batches: how they are made, and what one says of a single command."""

from typing import Final, NamedTuple

from replicator.model.values import KeyValue
from replicator.v1 import kv_pb2, store_pb2

APPLIED: Final = store_pb2.BatchOutcome.STATUS_APPLIED
UNCHANGED: Final = store_pb2.BatchOutcome.STATUS_UNCHANGED
COMPARE_FAILED: Final = store_pb2.BatchOutcome.STATUS_COMPARE_FAILED
REJECTED: Final = store_pb2.BatchOutcome.STATUS_REJECTED


class CommandOutcome(NamedTuple):
    """What became of one command. reason, message: of a refusal, else empty.

    current: what a compare-and-set met that lost, without its key; None if there was nothing. value_omitted: the value
    of `current` is left out, as the batch has found more than one answer may hold. result: of a transaction that was
    not refused.
    """

    status: "store_pb2.BatchOutcome.Status.ValueType"
    revision: int
    current: KeyValue | None = None
    value_omitted: bool = False
    reason: str = ""
    message: str = ""
    result: kv_pb2.TransactionResult | None = None


def refused(index: int, reason: str, message: str) -> store_pb2.BatchOutcome:
    """The outcome of a batch of which nothing is evaluated."""
    return store_pb2.BatchOutcome(index=index, reason=reason, message=message)


def outcome_at(outcome: store_pb2.BatchOutcome, position: int) -> CommandOutcome:
    """Of the command at `position`, from 0, which the batch must have.

    Cost: looks at all that was found, rejected and transacted; a batch of puts that were applied has none of it.
    """
    if outcome.reason:
        return CommandOutcome(REJECTED, 0, reason=outcome.reason, message=outcome.message)
    status = outcome.statuses[position] if outcome.statuses else APPLIED
    revision = outcome.revisions[position]
    for found in outcome.found:
        if found.position == position:
            current = KeyValue(b"", found.value, found.create_revision, found.mod_revision, found.version)
            return CommandOutcome(status, revision, current, found.value_omitted)
    for rejection in outcome.rejections:
        if rejection.position == position:
            return CommandOutcome(status, revision, reason=rejection.reason, message=rejection.message)
    for transacted in outcome.transactions:
        if transacted.position == position:
            return CommandOutcome(status, revision, result=transacted.result)
    return CommandOutcome(status, revision)
