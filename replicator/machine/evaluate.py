"""What the commands of one batch do to the store, exactly-once aside.

A command that changes something moves the revision by one: its changes have the number (main, sub). Only a transaction
has more than one change; see transaction.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat

from replicator.machine.codec import decode_transaction
from replicator.machine.frontier import Frontier
from replicator.machine.outcomes import APPLIED, COMPARE_FAILED, REJECTED, UNCHANGED
from replicator.machine.store_port import DELETED, Record, StorePort
from replicator.machine.transaction import Refusal, carry_out, planned
from replicator.machine.transaction_rules import flaw_of
from replicator.model.errors import Compacted, InvalidArgument
from replicator.model.ids import Revision
from replicator.model.limits import FormatLimits
from replicator.v1 import store_pb2

PUT = store_pb2.CommandBatch.KIND_PUT
DELETE = store_pb2.CommandBatch.KIND_DELETE
COMPARE_AND_SET = store_pb2.CommandBatch.KIND_COMPARE_AND_SET
COMPACT = store_pb2.CommandBatch.KIND_COMPACT
TRANSACTION = store_pb2.CommandBatch.KIND_TRANSACTION


def count_of(batch: store_pb2.CommandBatch) -> int:
    """How many commands the batch holds."""
    return len(batch.kinds) or len(batch.keys)


def shape_problem(batch: store_pb2.CommandBatch, limits: FormatLimits) -> str | None:
    """What prevents that the batch is evaluated at all; None if its columns fit each other."""
    kinds, count = list(batch.kinds), count_of(batch)
    if not 1 <= count <= limits.batch_commands_max:
        return f"the batch holds {count} commands, must be 1 to {limits.batch_commands_max}"
    puts, deletes, swaps, compactions, transactions = count, 0, 0, 0, 0
    if kinds:
        every_kind = (PUT, DELETE, COMPARE_AND_SET, COMPACT, TRANSACTION)
        puts, deletes, swaps, compactions, transactions = map(kinds.count, every_kind)
    if puts + deletes + swaps + compactions + transactions != count:
        return "the batch holds a command that this release does not know"
    needed = (puts + deletes + swaps, puts + swaps, swaps + compactions, transactions)
    held = (len(batch.keys), len(batch.values), len(batch.expected_revisions), len(batch.transactions))
    if needed != held:
        return f"the batch has {held} keys, values, revisions and transactions, its commands need {needed}"
    return None


def evaluate(store: StorePort, at: Frontier, batch: store_pb2.CommandBatch) -> store_pb2.BatchOutcome:
    """Applies one batch, in whose shape there is no problem, and moves `at`."""
    evaluation = _Evaluation(store, at, store.limits)
    if batch.kinds:
        evaluation.run(batch)
    else:
        evaluation.run_puts(batch)
    return evaluation.outcome()


@dataclass(slots=True)
class _Evaluation:
    """One batch under way: columns that grow by a row a command."""

    store: StorePort
    at: Frontier
    limits: FormatLimits
    statuses: "list[store_pb2.BatchOutcome.Status.ValueType]" = field(default_factory=list)
    revisions: list[int] = field(default_factory=list)
    found: list[store_pb2.BatchOutcome.Found] = field(default_factory=list)
    found_bytes: int = 0
    rejections: list[store_pb2.BatchOutcome.Rejection] = field(default_factory=list)
    transacted: list[store_pb2.BatchOutcome.Transacted] = field(default_factory=list)

    def run_puts(self, batch: store_pb2.CommandBatch) -> None:
        """The common case, one loop without a choice in it."""
        key_max, value_max = self.limits.key_bytes_max, self.limits.value_bytes_max
        find, write, revisions = self.store.find, self._write, self.revisions
        keys, values = batch.keys, batch.values
        for key, value in zip(keys, values, strict=True):
            if 0 < len(key) <= key_max and len(value) <= value_max:
                revisions.append(write(key, value, find(key)))
            else:
                self._mark_applied()
                self._reject(self._problem(key, value))
        self._mark_applied()

    def run(self, batch: store_pb2.CommandBatch) -> None:
        """Any mixture of commands."""
        keys, values, expected = iter(batch.keys), iter(batch.values), iter(batch.expected_revisions)
        transactions = iter(batch.transactions)
        for kind in batch.kinds:
            if kind == COMPACT:
                self._compact(next(expected))
            elif kind == TRANSACTION:
                self._transact(next(transactions))
            else:
                self._change(kind, next(keys), values, expected)

    def outcome(self) -> store_pb2.BatchOutcome:
        statuses = self.statuses if self.statuses.count(APPLIED) < len(self.statuses) else ()
        return store_pb2.BatchOutcome(
            index=self.at.index,
            statuses=statuses,
            revisions=self.revisions,
            found=self.found,
            rejections=self.rejections,
            transactions=self.transacted,
        )

    def _change(self, kind: int, key: bytes, values: Iterator[bytes], expected: Iterator[int]) -> None:
        value = b"" if kind == DELETE else next(values)
        wanted = next(expected) if kind == COMPARE_AND_SET else 0
        problem = self._problem(key, value)
        if problem:
            self._reject(problem)
            return
        old = self.store.find(key)
        if kind == DELETE:
            self._delete(key, old)
        elif kind == PUT or wanted == (0 if old is None or old[5] & DELETED else old[0]):
            self._row(APPLIED, self._write(key, value, old))
        else:
            self._lost(key, old)

    def _write(self, key: bytes, value: bytes, old: Record | None) -> int:
        """Stores a value; its revision."""
        at = self.at
        at.revision = revision = Revision(at.revision + 1)
        new: Record
        if old is None or old[5] & DELETED:
            at.live_keys += 1
            new = (revision, 0, revision, 1, 0, 0, len(value))
        else:
            new = (revision, 0, old[2], old[3] + 1, 0, 0, len(value))
        self.store.put_change(key, value, new, old, at.time_ms)
        return revision

    def _delete(self, key: bytes, old: Record | None) -> None:
        at = self.at
        if old is None or old[5] & DELETED:
            self._row(UNCHANGED, at.revision)
            return
        at.revision = Revision(at.revision + 1)
        at.live_keys -= 1
        assert at.live_keys >= 0, at
        self.store.put_change(key, b"", (at.revision, 0, 0, 0, 0, DELETED, 0), old, at.time_ms)
        self._row(APPLIED, at.revision)

    def _lost(self, key: bytes, old: Record | None) -> None:
        """A comparison failed: shows what is there, within the limit of a batch."""
        if old is not None and not old[5] & DELETED:
            mod_revision, _, create_revision, version, _, _, value_bytes = old
            is_shown = not self.found_bytes or self.found_bytes + value_bytes <= self.limits.found_bytes_max
            self.found_bytes += value_bytes if is_shown else 0
            self.found.append(
                store_pb2.BatchOutcome.Found(
                    position=len(self.statuses),
                    value=self.store.value_of(key, old) if is_shown else b"",
                    create_revision=create_revision,
                    mod_revision=mod_revision,
                    version=version,
                    value_omitted=not is_shown,
                )
            )
        self._row(COMPARE_FAILED, self.at.revision)

    def _transact(self, data: bytes) -> None:
        transaction = decode_transaction(data)
        if transaction is None:
            self._reject("the transaction does not decode")
            return
        flaw = flaw_of(transaction, self.limits)
        if flaw is not None:
            self._reject(str(flaw))
            return
        plan = planned(self.store, self.at, transaction, self.found_bytes)
        if isinstance(plan, Refusal):
            self._reject(plan.message, plan.reason)
            return
        carry_out(self.store, self.at, plan)
        self.found_bytes += plan.result_bytes
        self.transacted.append(store_pb2.BatchOutcome.Transacted(position=len(self.statuses), result=plan.result))
        self._row(APPLIED if plan.changes else UNCHANGED, self.at.revision)

    def _compact(self, revision: int) -> None:
        if revision > self.at.revision:
            self._reject(f"a compaction to revision {revision}, the store is at {self.at.revision}")
        elif revision <= self.store.compacted_revision:
            held = self.store.compacted_revision
            self._reject(f"a compaction to revision {revision}, the store is compacted to {held}", Compacted.reason)
        else:
            self.store.set_compacted(Revision(revision))
            self._row(APPLIED, self.at.revision)

    def _row(self, status: "store_pb2.BatchOutcome.Status.ValueType", revision: int) -> None:
        self.statuses.append(status)
        self.revisions.append(revision)

    def _reject(self, message: str, reason: str = InvalidArgument.reason) -> None:
        rejection = store_pb2.BatchOutcome.Rejection(position=len(self.statuses), reason=reason, message=message)
        self.rejections.append(rejection)
        self._row(REJECTED, self.at.revision)

    def _mark_applied(self) -> None:
        """Every row that has no status yet was applied."""
        self.statuses.extend(repeat(APPLIED, len(self.revisions) - len(self.statuses)))

    def _problem(self, key: bytes, value: bytes) -> str:
        """Why the command cannot be; empty if it can."""
        limits = self.limits
        if not 1 <= len(key) <= limits.key_bytes_max:
            return f"key: {len(key)} bytes, must be 1 to {limits.key_bytes_max}"
        if len(value) > limits.value_bytes_max:
            return f"value: {len(value)} bytes, must be at most {limits.value_bytes_max}"
        return ""
