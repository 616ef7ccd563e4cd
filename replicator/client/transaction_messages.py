"""Transactions as messages, and their results as values. A value of a wrong type is refused before anything is sent."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from replicator.client import convert
from replicator.client.arguments import check_bytes, int64, refuse, uint64
from replicator.model.limits import TRANSACTION_LEVELS_MAX
from replicator.model.transactions import (
    OPERATIONS,
    BranchDone,
    Compare,
    Delete,
    DeleteDone,
    Get,
    GetDone,
    OperationDone,
    Put,
    PutDone,
    Range,
    Relation,
    Target,
    Transaction,
    TxnResult,
)
from replicator.v1 import kv_pb2

_TARGET: Final = {
    Target.VALUE: kv_pb2.Compare.TARGET_VALUE,
    Target.VERSION: kv_pb2.Compare.TARGET_VERSION,
    Target.CREATE_REVISION: kv_pb2.Compare.TARGET_CREATE_REVISION,
    Target.MOD_REVISION: kv_pb2.Compare.TARGET_MOD_REVISION,
}
_RELATION: Final = {
    Relation.EQUAL: kv_pb2.Compare.RELATION_EQUAL,
    Relation.NOT_EQUAL: kv_pb2.Compare.RELATION_NOT_EQUAL,
    Relation.GREATER: kv_pb2.Compare.RELATION_GREATER,
    Relation.LESS: kv_pb2.Compare.RELATION_LESS,
}
assert (set(_TARGET), set(_RELATION)) == (set(Target), set(Relation)), "each needs a number on the wire"


def transaction_message(transaction: Transaction, path: str = "", level: int = 1) -> kv_pb2.Transaction:
    """Raises InvalidArgument, naming the field by its path. What else is wrong is the node's to refuse."""
    if level > TRANSACTION_LEVELS_MAX:
        refuse(path.rstrip("."), f"{path.rstrip('.')} is nested more than {TRANSACTION_LEVELS_MAX} levels deep")
    return kv_pb2.Transaction(
        compare=[_compare(each, at) for at, each in _items(transaction.compare, f"{path}compare")],
        then=[_operation(each, at, level) for at, each in _items(transaction.then, f"{path}then")],
        or_else=[_operation(each, at, level) for at, each in _items(transaction.or_else, f"{path}or_else")],
    )


class TxnTold(NamedTuple):
    """What a node says of a transaction beside its result."""

    revision: int
    token: str
    duplicate: bool


def txn_result(branch: kv_pb2.TransactionResult, asked: kv_pb2.Transaction, told: TxnTold) -> TxnResult:
    """Raises ValueError if the result is not one of what was asked."""
    done = branch_done(branch, asked)
    return TxnResult(done.succeeded, done.results, *told)


def branch_done(branch: kv_pb2.TransactionResult, asked: kv_pb2.Transaction) -> BranchDone:
    """What a transaction did, by what it was asked to do. Raises ValueError if the one does not fit the other."""
    operations = asked.then if branch.succeeded else asked.or_else
    results = tuple(_done(result, op) for result, op in zip(branch.results, operations, strict=True))
    return BranchDone(branch.succeeded, results)


def _items(given: Any, path: str) -> Iterable[tuple[str, Any]]:
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        refuse(path, f"{path} must be a list or tuple, not {type(given).__name__}")
    return [(f"{path}[{place}]", each) for place, each in enumerate(given)]


def _compare(compare: Any, path: str) -> kv_pb2.Compare:
    if not isinstance(compare, Compare):
        remedy = "; write it as in `If.value(key) == b'v'`"
        refuse(path, f"{path} must be a Compare, not {type(compare).__name__}{remedy}")
    if not isinstance(compare.target, Target) or not isinstance(compare.relation, Relation):
        refuse(path, f"{path} has no Target or no Relation")
    message = kv_pb2.Compare(target=_TARGET[compare.target], relation=_RELATION[compare.relation])
    _set_keys(message, compare.keys, path)
    if compare.target is Target.VALUE:
        check_bytes(f"{path}.operand", compare.operand)
        assert isinstance(compare.operand, bytes)
        message.value = compare.operand
    else:
        message.number = int64(f"{path}.operand", compare.operand)
    return message


def _operation(operation: Any, path: str, level: int) -> kv_pb2.Operation:
    if not isinstance(operation, OPERATIONS):
        known = ", ".join(each.__name__ for each in OPERATIONS)
        refuse(path, f"{path} must be one of {known}, not {type(operation).__name__}")
    match operation:
        case Put():
            check_bytes(f"{path}.key", operation.key)
            check_bytes(f"{path}.value", operation.value)
            put = kv_pb2.PutOperation(key=operation.key, value=operation.value, previous=bool(operation.previous))
            return kv_pb2.Operation(put=put)
        case Get():
            get = kv_pb2.GetOperation(
                limit=uint64(f"{path}.limit", operation.limit),
                keys_only=bool(operation.keys_only),
                count_only=bool(operation.count_only),
            )
            _set_keys(get, operation.keys, path)
            return kv_pb2.Operation(get=get)
        case Delete():
            delete = kv_pb2.DeleteOperation(previous=bool(operation.previous))
            _set_keys(delete, operation.keys, path)
            return kv_pb2.Operation(delete=delete)
        case _:
            return kv_pb2.Operation(transaction=transaction_message(operation, f"{path}.", level + 1))


def _set_keys(message: kv_pb2.Compare | kv_pb2.GetOperation | kv_pb2.DeleteOperation, keys: Any, path: str) -> None:
    if isinstance(keys, Range):
        check_bytes(f"{path}.keys.start", keys.start)
        check_bytes(f"{path}.keys.end", keys.end)
        message.range.start, message.range.end = keys.start, keys.end
        message.range.SetInParent()  # an empty range of fields means all keys
    else:
        check_bytes(f"{path}.keys", keys)
        message.key = keys


def _done(result: kv_pb2.OperationResult, asked: kv_pb2.Operation) -> OperationDone:
    pairs = tuple(convert.key_value(pair) for pair in result.pairs)
    match asked.WhichOneof("operation"):
        case "put":
            return PutDone(bool(result.count), pairs[0] if pairs else None)
        case "get":
            return GetDone(pairs, result.count, result.more)
        case "delete":
            return DeleteDone(result.count, pairs)
        case _:
            return branch_done(result.transaction, asked.transaction)
