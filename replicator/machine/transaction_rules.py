"""What a transaction must be like to be evaluated at all: counts, keys, values, duplicates. Values in, a flaw out.

One walk for two callers: the API refuses early what the state machine would reject. Order of the checks, as in etcd:
each field in the order of the request, then duplicates.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from replicator.model.limits import FormatLimits
from replicator.v1 import kv_pb2

_TARGETS: Final = frozenset(kv_pb2.Compare.Target.values()) - {kv_pb2.Compare.TARGET_UNSPECIFIED}
_RELATIONS: Final = frozenset(kv_pb2.Compare.Relation.values()) - {kv_pb2.Compare.RELATION_UNSPECIFIED}

_Keyed = kv_pb2.Compare | kv_pb2.GetOperation | kv_pb2.DeleteOperation


class Flaw(NamedTuple):
    """field: its path in the transaction, as `then[3].put.key`. limit: the one that is exceeded, if it is one."""

    field: str
    problem: str
    limit: int | None = None

    def __str__(self) -> str:
        return f"{self.field} {self.problem}"


def flaw_of(transaction: kv_pb2.Transaction, limits: FormatLimits, *, strict: bool = False) -> Flaw | None:
    """The first one; None if the transaction can be evaluated.

    strict: refuse what is a caller's mistake, although the state machine evaluates it, as etcd does: a range that holds
    no key, whatever the store holds; a put of a key beside a delete of a range without an end that holds it.
    """
    try:
        _Fields(limits, strict=strict).check(transaction, "", 1)
        for name, branch in (("then", transaction.then), ("or_else", transaction.or_else)):
            _check_duplicates(branch, name, strict=strict)
    except _Flawed as flawed:
        return flawed.flaw
    return None


class _Flawed(Exception):
    """Never leaves this module."""

    def __init__(self, field: str, problem: str, limit: int | None = None) -> None:
        super().__init__(field)
        self.flaw = Flaw(field, problem, limit)


class _Fields:
    """Each field by itself, and how many there are."""

    def __init__(self, limits: FormatLimits, *, strict: bool) -> None:
        self._limits = limits
        self._strict = strict
        self._compares = self._operations = 0

    def check(self, transaction: kv_pb2.Transaction, path: str, level: int) -> None:
        """path: of what is in it: empty, or ends with a dot. level: 1 for the outermost."""
        if level > self._limits.transaction_levels_max:
            most = self._limits.transaction_levels_max
            raise _Flawed(path.rstrip("."), f"is nested {level} levels deep, the limit is {most}", most)
        self._compares += len(transaction.compare)
        self._operations += len(transaction.then) + len(transaction.or_else)
        most = self._limits.transaction_operations_max
        for count, what in ((self._compares, "compares"), (self._operations, "operations")):
            if count > most:
                raise _Flawed("transaction", f"has {count} {what} or more, the limit is {most}; split it", most)
        for place, compare in enumerate(transaction.compare):
            self._check_compare(compare, f"{path}compare[{place}]")
        for name, branch in (("then", transaction.then), ("or_else", transaction.or_else)):
            for place, operation in enumerate(branch):
                self._check_operation(operation, f"{path}{name}[{place}]", level)

    def _check_compare(self, compare: kv_pb2.Compare, path: str) -> None:
        self._check_keys(compare, path)
        for name, given, known in (("target", compare.target, _TARGETS), ("relation", compare.relation, _RELATIONS)):
            if given not in known:
                said = f"is {given}, which this release does not know" if given else "is missing"
                raise _Flawed(f"{path}.{name}", said)
        self._check_value(compare.value, path)

    def _check_operation(self, operation: kv_pb2.Operation, path: str, level: int) -> None:
        match operation.WhichOneof("operation"):
            case "put":
                self._check_key(operation.put.key, f"{path}.put")
                self._check_value(operation.put.value, f"{path}.put")
            case "get":
                self._check_keys(operation.get, f"{path}.get")
            case "delete":
                self._check_keys(operation.delete, f"{path}.delete")
            case "transaction":
                self.check(operation.transaction, f"{path}.transaction.", level + 1)
            case _:
                raise _Flawed(path, "is no operation that this release knows")

    def _check_keys(self, keyed: _Keyed, path: str) -> None:
        match keyed.WhichOneof("keys"):
            case "key":
                self._check_key(keyed.key, path)
            case "range":
                self._check_range(keyed.range, f"{path}.range")
            case _:
                raise _Flawed(path, "names neither a key nor a range")

    def _check_range(self, keys: kv_pb2.KeyRange, path: str) -> None:
        most = self._limits.key_bytes_max
        for name, bound in (("start", keys.start), ("end", keys.end)):
            if len(bound) > most:
                raise _Flawed(f"{path}.{name}", f"has {len(bound)} bytes, the limit is {most}", most)
        if self._strict and keys.end and keys.end <= keys.start:
            raise _Flawed(f"{path}.end", "is not after start: the range [start, end) holds no key")

    def _check_key(self, key: bytes, path: str) -> None:
        most = self._limits.key_bytes_max
        if not 1 <= len(key) <= most:
            raise _Flawed(f"{path}.key", f"has {len(key)} bytes, must have 1 to {most}", most)

    def _check_value(self, value: bytes, path: str) -> None:
        most = self._limits.value_bytes_max
        if len(value) > most:
            raise _Flawed(f"{path}.value", f"has {len(value)} bytes, the limit is {most}", most)


def _check_duplicates(
    branch: Sequence[kv_pb2.Operation], path: str, *, strict: bool
) -> "tuple[dict[bytes, str], _Spans]":
    """Keys that a branch puts, and spans that it deletes, through nesting.

    Each put is held against what was seen so far, in the order that etcd sees it: deletes of this level, then nested
    transactions, then puts of this level. So of two nested transactions, the later one may delete what the earlier
    one puts, not the other way round.
    """
    deletes = _Spans((op.delete for op in branch if op.HasField("delete")), strict=strict)
    puts: dict[bytes, str] = {}
    for place, op in enumerate(branch):
        if not op.HasField("transaction"):
            continue
        inside = f"{path}[{place}].transaction"
        then_puts, then_deletes = _check_duplicates(op.transaction.then, f"{inside}.then", strict=strict)
        else_puts, else_deletes = _check_duplicates(op.transaction.or_else, f"{inside}.or_else", strict=strict)
        for key, where in then_puts.items():
            _check_put(key, where, puts, deletes)
        for key, where in else_puts.items():
            _check_put(key, where, {} if key in then_puts else puts, deletes)
        puts |= then_puts | else_puts
        deletes.add_all(then_deletes)
        deletes.add_all(else_deletes)
    for place, op in enumerate(branch):
        if op.HasField("put"):
            where = f"{path}[{place}].put.key"
            _check_put(op.put.key, where, puts, deletes)
            puts[op.put.key] = where
    return puts, deletes


def _check_put(key: bytes, where: str, puts: dict[bytes, str], deletes: "_Spans") -> None:
    if key in puts:
        raise _Flawed(where, f"is a duplicate: {puts[key]} puts the same key")
    if deletes.hold(key):
        raise _Flawed(where, "is a duplicate: another operation of the same branch deletes the key")


class _Spans:
    """Keys that lie in any of some ranges, as spans that neither touch nor overlap, in order."""

    def __init__(self, deletes: Iterable[kv_pb2.DeleteOperation], *, strict: bool) -> None:
        """strict: those without an end as well. etcd takes them for empty here, by the way in which it writes them."""
        self._starts: list[bytes] = []
        self._ends: list[bytes | None] = []  # exclusive; None: no end, and then it is the last
        for each in deletes:
            if each.HasField("range"):
                if each.range.end or strict:
                    self._add(each.range.start, each.range.end or None)
            else:
                self._add(each.key, each.key + b"\x00")

    def hold(self, key: bytes) -> bool:
        place = bisect_right(self._starts, key) - 1
        return place >= 0 and ((end := self._ends[place]) is None or key < end)

    def add_all(self, other: "_Spans") -> None:
        for start, end in zip(other._starts, other._ends, strict=True):
            self._add(start, end)

    def _add(self, start: bytes, end: bytes | None) -> None:
        if end is not None and end <= start:
            return
        first = bisect_left(self._starts, start)
        if first and ((before := self._ends[first - 1]) is None or start <= before):
            first -= 1
            start = self._starts[first]
            end = None if before is None or end is None else max(before, end)
        last = first
        while last < len(self._starts) and (end is None or self._starts[last] <= end):
            after = self._ends[last]
            end = None if after is None or end is None else max(after, end)
            last += 1
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
