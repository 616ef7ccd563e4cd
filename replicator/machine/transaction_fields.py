"""Transactions and their results as explicit fields, for digests: what is equal has equal fields, and nothing else has.

Serialized protobuf is never hashed, since its bytes may differ between releases, and between the nodes that a retry
goes through. Each message here becomes a head of fixed size, which says what follows, and what follows has a length.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

from replicator.machine.codec import decode_transaction
from replicator.v1 import kv_pb2

_TRANSACTION: Final = Struct(">BIII")  # 1, compares, operations of either branch
_UNREADABLE: Final = Struct(">BI")  # 0, bytes
_COMPARE: Final = Struct(">iiqIB")  # target, relation, number, value bytes, which keys
_KEYS: Final = Struct(">II")  # bytes of key, or start; of end
_PUT: Final = Struct(">BII?")  # 1, key bytes, value bytes, previous
_GET: Final = Struct(">BBQ??")  # 2, which keys, limit, keys only, count only
_DELETE: Final = Struct(">BB?")  # 3, which keys, previous
_NESTED: Final = b"\x04"
_UNKNOWN: Final = b"\x00"
_WHICH: Final = {None: 0, "key": 1, "range": 2}

_RESULT: Final = Struct(">?I")  # succeeded, operations
_DONE: Final = Struct(">IQ??")  # pairs, count, more, whether a nested result follows
_PAIR: Final = Struct(">IIQQQ")  # key bytes, value bytes, create revision, mod revision, version

_Keyed = kv_pb2.Compare | kv_pb2.GetOperation | kv_pb2.DeleteOperation


def transaction_fields(data: bytes) -> Iterable[bytes]:
    """Of a serialized transaction; of one that does not decode, its bytes."""
    transaction = decode_transaction(data)
    if transaction is None:
        return _UNREADABLE.pack(0, len(data)), data
    parts: list[bytes] = []
    _add_transaction(parts, transaction)
    return parts


def result_fields(result: kv_pb2.TransactionResult) -> Iterable[bytes]:
    """Of what a transaction did."""
    parts: list[bytes] = []
    _add_result(parts, result)
    return parts


def _add_transaction(parts: list[bytes], transaction: kv_pb2.Transaction) -> None:
    counts = len(transaction.compare), len(transaction.then), len(transaction.or_else)
    parts.append(_TRANSACTION.pack(1, *counts))
    for compare in transaction.compare:
        which = _WHICH[compare.WhichOneof("keys")]
        head = (compare.target, compare.relation, compare.number, len(compare.value), which)
        parts += (_COMPARE.pack(*head), compare.value)
        _add_keys(parts, compare)
    for branch in (transaction.then, transaction.or_else):
        for operation in branch:
            _add_operation(parts, operation)


def _add_operation(parts: list[bytes], operation: kv_pb2.Operation) -> None:
    match operation.WhichOneof("operation"):
        case "put":
            put = operation.put
            parts += (_PUT.pack(1, len(put.key), len(put.value), put.previous), put.key, put.value)
        case "get":
            get = operation.get
            which = _WHICH[get.WhichOneof("keys")]
            parts.append(_GET.pack(2, which, get.limit, get.keys_only, get.count_only))
            _add_keys(parts, get)
        case "delete":
            parts.append(_DELETE.pack(3, _WHICH[operation.delete.WhichOneof("keys")], operation.delete.previous))
            _add_keys(parts, operation.delete)
        case "transaction":
            parts.append(_NESTED)
            _add_transaction(parts, operation.transaction)
        case _:
            parts.append(_UNKNOWN)


def _add_keys(parts: list[bytes], keyed: _Keyed) -> None:
    first, end = (keyed.range.start, keyed.range.end) if keyed.HasField("range") else (keyed.key, b"")
    parts += (_KEYS.pack(len(first), len(end)), first, end)


def _add_result(parts: list[bytes], result: kv_pb2.TransactionResult) -> None:
    parts.append(_RESULT.pack(result.succeeded, len(result.results)))
    for done in result.results:
        is_nested = done.HasField("transaction")
        parts.append(_DONE.pack(len(done.pairs), done.count, done.more, is_nested))
        for pair in done.pairs:
            numbers = (pair.create_revision, pair.mod_revision, pair.version)
            parts += (_PAIR.pack(len(pair.key), len(pair.value), *numbers), pair.key, pair.value)
        if is_nested:
            _add_result(parts, done.transaction)
