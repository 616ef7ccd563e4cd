"""Evaluates one transaction: first a plan, which changes nothing, then its changes, which cannot fail.

Invariants:
- all or nothing: whatever is refused is refused while planning;
- one state: compares, those of nested transactions too, see the store before the transaction; an operation sees that
  and what the operations before it have written;
- one revision: all changes have the same main number and subs from 0 without a gap; none, and the revision stays;
- bounded: a plan reads no more than the limits of the format, and a refusal says which one it met;
- the same on every node: a key that was deleted before the compacted revision is here on one node and gone on another,
  so it is neither counted nor shown.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import eq, gt, lt, ne
from typing import Any, Final, NamedTuple

from replicator.machine.frontier import Frontier
from replicator.machine.store_port import DELETED, Record, StorePort
from replicator.model.errors import InvalidArgument, Overloaded
from replicator.model.ids import Revision
from replicator.model.limits import in_mib
from replicator.v1 import kv_pb2

RESULT_BYTES: Final = 8  # of one operation, without its pairs
PAIR_BYTES: Final = 40  # of one pair, beside its key and value

_RELATION: Final[Mapping[int, Callable[[Any, Any], bool]]] = {
    kv_pb2.Compare.RELATION_EQUAL: eq,
    kv_pb2.Compare.RELATION_NOT_EQUAL: ne,
    kv_pb2.Compare.RELATION_GREATER: gt,
    kv_pb2.Compare.RELATION_LESS: lt,
}
_FIELD: Final[Mapping[int, int]] = {  # of a record
    kv_pb2.Compare.TARGET_VERSION: 3,
    kv_pb2.Compare.TARGET_CREATE_REVISION: 2,
    kv_pb2.Compare.TARGET_MOD_REVISION: 0,
}


class Change(NamedTuple):
    """As StorePort.put_change takes it."""

    key: bytes
    value: bytes
    new: Record
    old: Record | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a transaction is about to do. result_bytes: at least the size of `result`."""

    result: kv_pb2.TransactionResult
    result_bytes: int
    changes: list[Change]
    live_keys_added: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why it does nothing. reason: that of a ReplicatorError."""

    reason: str
    message: str


def planned(store: StorePort, at: Frontier, transaction: kv_pb2.Transaction, batch_bytes: int) -> Plan | Refusal:
    """What `transaction`, in which `transaction_rules` finds no flaw, does to the store as it is.

    Counts what it reads in `at`. batch_bytes: what the outcome of its batch holds already.
    """
    planning = _Planning(store, at, batch_bytes)
    try:
        path = planning.chosen(transaction)
        result = planning.run(path)
    except _Refused as refused:
        return refused.refusal
    return Plan(result, planning.result_bytes, planning.changes, planning.live_keys_added)


def carry_out(store: StorePort, at: Frontier, plan: Plan) -> None:
    """Applies a plan to the store for which it was made, and moves `at`."""
    if not plan.changes:
        return
    at.revision = Revision(at.revision + 1)
    at.live_keys += plan.live_keys_added
    assert at.live_keys >= 0, at
    for sub, (key, value, new, old) in enumerate(plan.changes):
        assert new[:2] == (at.revision, sub), "one main revision, ascending sub-revisions"
        store.put_change(key, value, new, old, at.time_ms)


class _Refused(Exception):
    """Never leaves this module."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason, message)


class _Path(NamedTuple):
    """Which branch a transaction takes, and those nested in it. nested: in the order of the branch."""

    succeeded: bool
    branch: "Any"  # a repeated field of Operation
    nested: "list[_Path]"


@dataclass(slots=True)
class _Planning:
    """One transaction under way. newest, values: of the keys that it has written; written: those keys in order."""

    store: StorePort
    at: Frontier
    batch_bytes: int
    newest: dict[bytes, Record] = field(default_factory=dict)
    values: dict[bytes, bytes] = field(default_factory=dict)
    written: list[bytes] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    live_keys_added: int = 0
    result_bytes: int = 0
    range_keys: int = 0
    read_bytes: int = 0

    # Which branches

    def chosen(self, transaction: kv_pb2.Transaction) -> _Path:
        """Decided before anything is written."""
        assert not self.changes
        succeeded = all(map(self._holds, transaction.compare))
        branch = transaction.then if succeeded else transaction.or_else
        nested = [self.chosen(op.transaction) for op in branch if op.HasField("transaction")]
        return _Path(succeeded, branch, nested)

    def _holds(self, compare: kv_pb2.Compare) -> bool:
        if compare.HasField("key"):
            return self._holds_for(compare, compare.key, self._live(compare.key))
        is_empty = True
        for key, record in self._live_between(compare.range):
            if not self._holds_for(compare, key, record):
                return False
            is_empty = False
        return not is_empty or self._holds_for(compare, b"", None)

    def _holds_for(self, compare: kv_pb2.Compare, key: bytes, record: Record | None) -> bool:
        relation = _RELATION[compare.relation]
        if compare.target == kv_pb2.Compare.TARGET_VALUE:
            return record is not None and relation(self._value(key, record), compare.value)
        return relation(0 if record is None else record[_FIELD[compare.target]], compare.number)

    # What the branches do

    def run(self, path: _Path) -> kv_pb2.TransactionResult:
        nested = iter(path.nested)
        result = kv_pb2.TransactionResult(succeeded=path.succeeded)
        for op in path.branch:
            self._add_to_result(RESULT_BYTES)
            match op.WhichOneof("operation"):
                case "put":
                    done = self._put(op.put)
                case "get":
                    done = self._get(op.get)
                case "delete":
                    done = self._delete(op.delete)
                case _:
                    done = kv_pb2.OperationResult(transaction=self.run(next(nested)))
            result.results.append(done)
        return result

    def _put(self, put: kv_pb2.PutOperation) -> kv_pb2.OperationResult:
        key, value = put.key, put.value
        old = self._find(key)
        is_new = old is None or bool(old[5] & DELETED)
        pairs = [self._pair(key, old)] if put.previous and old is not None and not is_new else ()
        main, sub = self._next_number()
        if old is None or is_new:
            self.live_keys_added += 1
            self._write(key, value, (main, sub, main, 1, 0, 0, len(value)), old)
        else:
            self._write(key, value, (main, sub, old[2], old[3] + 1, 0, 0, len(value)), old)
        return kv_pb2.OperationResult(pairs=pairs, count=0 if is_new else 1)

    def _get(self, get: kv_pb2.GetOperation) -> kv_pb2.OperationResult:
        result = kv_pb2.OperationResult()
        if get.count_only:
            result.count = sum(1 for _ in self._targets(get))
            return result
        for key, record in self._targets(get):
            if get.limit and result.count == get.limit:
                result.more = True
                break
            result.pairs.append(self._pair(key, record, without_value=get.keys_only))
            result.count += 1
        return result

    def _delete(self, delete: kv_pb2.DeleteOperation) -> kv_pb2.OperationResult:
        targets = list(self._targets(delete))
        pairs = [self._pair(key, record) for key, record in targets] if delete.previous else ()
        for key, record in targets:
            self.live_keys_added -= 1
            self._write(key, b"", (*self._next_number(), 0, 0, 0, DELETED, 0), record)
        return kv_pb2.OperationResult(pairs=pairs, count=len(targets))

    def _next_number(self) -> tuple[int, int]:
        return self.at.revision + 1, len(self.changes)

    def _write(self, key: bytes, value: bytes, new: Record, old: Record | None) -> None:
        if key not in self.newest:
            insort(self.written, key)
        self.newest[key], self.values[key] = new, value
        self.changes.append(Change(key, value, new, old))

    # Reads of the store with what was written over it

    def _find(self, key: bytes) -> Record | None:
        return self.newest.get(key) or self.store.find(key)

    def _live(self, key: bytes) -> Record | None:
        record = self._find(key)
        return None if record is None or record[5] & DELETED else record

    def _targets(self, keyed: kv_pb2.GetOperation | kv_pb2.DeleteOperation) -> Iterator[tuple[bytes, Record]]:
        """The live keys that are meant, in order. Nothing may be written before they are all taken."""
        if keyed.HasField("range"):
            yield from self._live_between(keyed.range)
        elif (record := self._live(keyed.key)) is not None:
            yield keyed.key, record

    def _live_between(self, keys: kv_pb2.KeyRange) -> Iterator[tuple[bytes, Record]]:
        for key, record in self._all_between(keys.start, keys.end):
            if not record[5] & DELETED:
                yield key, record

    def _all_between(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, Record]]:
        """Stored keys and written ones, in order; deleted ones too."""
        if end and end <= start:
            return
        written, place = self.written, bisect_left(self.written, start)
        stop = bisect_left(written, end) if end else len(written)
        for key, record in self.store.walk(start, end):
            self._count_met(record)
            if not key:  # looked at only
                self._count_read(record[6])
                continue
            while place < stop and written[place] < key:
                yield written[place], self.newest[written[place]]
                place += 1
            if place < stop and written[place] == key:
                yield key, self.newest[key]
                place += 1
            else:
                yield key, record
        for key in written[place:stop]:
            yield key, self.newest[key]

    def _value(self, key: bytes, record: Record) -> bytes:
        self._count_read(record[6])
        return self.values[key] if key in self.values else self.store.value_of(key, record)

    def _pair(self, key: bytes, record: Record, *, without_value: bool = False) -> kv_pb2.KeyValue:
        """Shown in the result."""
        mod_revision, _, create_revision, version, _, _, value_bytes = record
        self._add_to_result(PAIR_BYTES + len(key) + (0 if without_value else value_bytes))
        self._count_read(len(key))
        return kv_pb2.KeyValue(
            key=key,
            value=b"" if without_value else self._value(key, record),
            create_revision=create_revision,
            mod_revision=mod_revision,
            version=version,
        )

    # Limits

    def _count_met(self, record: Record) -> None:
        """A range has met this key."""
        if record[5] & DELETED and record[0] < self.store.compacted_revision:
            return
        self.range_keys += 1
        self.at.range_keys += 1
        most = self.store.limits.transaction_range_keys_max
        _check("its ranges meet more than {} keys", most, self.range_keys, self.at.range_keys)

    def _count_read(self, size: int) -> None:
        self.read_bytes += size
        self.at.read_bytes += size
        most = self.store.limits.transaction_read_bytes_max
        _check("it reads more than {} bytes", most, self.read_bytes, self.at.read_bytes)

    def _add_to_result(self, size: int) -> None:
        self.result_bytes += size
        limits = self.store.limits
        most = limits.transaction_result_bytes_max
        if self.result_bytes > most:
            _refuse_alone(f"its results hold more than {most} bytes ({in_mib(most)})")
        if self.batch_bytes and self.batch_bytes + self.result_bytes > limits.found_bytes_max:
            _refuse_beside("what it and the others of its batch return", limits.found_bytes_max)


def _check(problem: str, most: int, own: int, of_the_entry: int) -> None:
    if own > most:
        _refuse_alone(problem.format(most))
    if of_the_entry > most:
        _refuse_beside("what it and others of its log entry read", most)


def _refuse_alone(problem: str) -> None:
    raise _Refused(InvalidArgument.reason, f"transaction: {problem}; split it, or narrow its ranges")


def _refuse_beside(what: str, most: int) -> None:
    raise _Refused(Overloaded.reason, f"{what} is more than {most}; nothing of it happened, send it again")
