"""Transactions over a dict, as naive as can be: what the state machine must agree with. Knows none of its code."""

from dataclasses import dataclass, field
from operator import eq, gt, lt, ne
from typing import Any

from replicator.model.transactions import (
    BranchDone,
    Compare,
    Delete,
    DeleteDone,
    Get,
    GetDone,
    Operation,
    Put,
    PutDone,
    Range,
    Relation,
    Target,
    Transaction,
)
from replicator.model.values import KeyValue

RELATIONS = {Relation.EQUAL: eq, Relation.NOT_EQUAL: ne, Relation.GREATER: gt, Relation.LESS: lt}


class Duplicate(Exception):
    """A branch puts a key that it also puts or deletes elsewhere."""


@dataclass
class ModelStore:
    """Live pairs. Each transaction works on a copy, which takes the place of the pairs at its end."""

    pairs: dict[bytes, KeyValue] = field(default_factory=dict)
    revision: int = 0

    def run(self, transaction: Transaction) -> BranchDone:
        """Raises Duplicate, and then nothing has changed."""
        check_duplicates(transaction.then)
        check_duplicates(transaction.or_else)
        run = _Run(dict(self.pairs), dict(self.pairs), self.revision + 1)
        done = run.branch(transaction)
        self.pairs = run.now
        self.revision += run.changed
        return done


@dataclass
class _Run:
    before: dict[bytes, KeyValue]
    now: dict[bytes, KeyValue]
    revision: int
    changed: bool = False

    def branch(self, transaction: Transaction) -> BranchDone:
        succeeded = all(holds(compare, self.before) for compare in transaction.compare)
        operations = transaction.then if succeeded else transaction.or_else
        return BranchDone(succeeded, tuple(self.operation(op) for op in operations))

    def operation(self, op: Operation) -> Any:
        match op:
            case Put():
                old = self.now.get(op.key)
                version, create = (old.version + 1, old.create_revision) if old else (1, self.revision)
                self.now[op.key] = KeyValue(op.key, op.value, create, self.revision, version)
                self.changed = True
                return PutDone(old is not None, old if op.previous else None)
            case Get():
                found = within(op.keys, self.now)
                if op.count_only:
                    return GetDone((), len(found), False)
                shown = found[: op.limit] if op.limit else found
                if op.keys_only:
                    shown = [KeyValue(kv.key, b"", kv.create_revision, kv.mod_revision, kv.version) for kv in shown]
                return GetDone(tuple(shown), len(shown), len(shown) < len(found))
            case Delete():
                found = within(op.keys, self.now)
                for kv in found:
                    del self.now[kv.key]
                self.changed |= bool(found)
                return DeleteDone(len(found), tuple(found) if op.previous else ())
            case Transaction():
                return self.branch(op)


def within(keys: bytes | Range, pairs: dict[bytes, KeyValue]) -> list[KeyValue]:
    return [pairs[key] for key in sorted(pairs) if is_within(key, keys)]


def is_within(key: bytes, keys: bytes | Range) -> bool:
    if isinstance(keys, bytes):
        return key == keys
    return keys.start <= key and (not keys.end or key < keys.end)


def holds(compare: Compare, pairs: dict[bytes, KeyValue]) -> bool:
    met = within(compare.keys, pairs)
    if not met and compare.target is Target.VALUE:
        return False
    stored = [getattr(kv, compare.target.value) for kv in met] or [0]
    return all(RELATIONS[compare.relation](each, compare.operand) for each in stored)


def is_endless(keys: bytes | Range) -> bool:
    """etcd writes such a range as [key, 0x00), which its check takes for an empty one."""
    return isinstance(keys, Range) and not keys.end


def check_duplicates(branch: Any) -> tuple[set[bytes], list[bytes | Range]]:
    """As `checkIntervals` of etcd's server does it: its order decides, where siblings put and delete one key."""
    deletes: list[bytes | Range] = [op.keys for op in branch if isinstance(op, Delete) and not is_endless(op.keys)]
    puts: set[bytes] = set()
    for op in branch:
        if not isinstance(op, Transaction):
            continue
        then_puts, then_deletes = check_duplicates(op.then)
        else_puts, else_deletes = check_duplicates(op.or_else)
        for key in then_puts | else_puts:
            if key in puts or any(is_within(key, keys) for keys in deletes):
                raise Duplicate
        puts |= then_puts | else_puts
        deletes += then_deletes + else_deletes
    for op in branch:
        if isinstance(op, Put):
            if op.key in puts or any(is_within(op.key, keys) for keys in deletes):
                raise Duplicate
            puts.add(op.key)
    return puts, deletes
