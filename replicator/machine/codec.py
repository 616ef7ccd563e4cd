"""Log payloads: how batches become the bytes of an entry, and back.

A payload begins with one byte that says what follows. The values are those of the engine (`_COMMAND_TYPE` of pysyncobj
0.3.17), so that its own no-op entries need no translation.
"""

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from replicator.model.limits import LOG_TIME_MS_MAX
from replicator.v1 import kv_pb2, store_pb2

REGULAR: Final = 0x00  # a serialized store_pb2.EntryBatch follows
NO_OP: Final = 0x01  # nothing follows that matters
GROUP_CHANGE: Final = 0x02  # a serialized store_pb2.GroupChange follows
REGULAR_PREFIX: Final = bytes((REGULAR,))
NO_OP_PAYLOAD: Final = bytes((NO_OP,))
GROUP_CHANGE_PREFIX: Final = bytes((GROUP_CHANGE,))


def encode_entry(time_ms: int, batches: Sequence[bytes], wall_ms: int = 0) -> bytes:
    """The payload of one entry, first byte included. batches: a serialized store_pb2.CommandBatch each.

    time_ms: log time. wall_ms: what the leader's calendar shows, 0 for none; nothing is decided by it.
    """
    entry = store_pb2.EntryBatch(time_ms=time_ms, batches=batches, wall_ms=wall_ms)
    return REGULAR_PREFIX + entry.SerializeToString()


def decode_entry(payload: bytes) -> store_pb2.EntryBatch | None:
    """The batches of a whole payload (first byte included); None if it is not a regular one or does not decode."""
    if payload[:1] != REGULAR_PREFIX:
        return None
    entry = store_pb2.EntryBatch()
    try:
        entry.ParseFromString(payload[1:])
    except DecodeError:
        return None
    return entry


def entry_time_ms(payload: bytes) -> int | None:
    """Log time of an entry by its whole payload; None for one that carries none, or one beyond LOG_TIME_MS_MAX."""
    entry = decode_entry(payload)
    return entry.time_ms if entry is not None and 0 < entry.time_ms <= LOG_TIME_MS_MAX else None


def decode_batch(data: bytes) -> store_pb2.CommandBatch | None:
    """One batch of an entry; None if it does not decode."""
    batch = store_pb2.CommandBatch()
    try:
        batch.ParseFromString(data)
    except DecodeError:
        return None
    return batch


def decode_transaction(data: bytes) -> kv_pb2.Transaction | None:
    """One transaction of a batch; None if it does not decode."""
    transaction = kv_pb2.Transaction()
    try:
        transaction.ParseFromString(data)
    except DecodeError:
        return None
    return transaction


def is_no_op(payload: bytes) -> bool:
    """True for the entry that a new leader appends to learn what is committed."""
    return payload[:1] == NO_OP_PAYLOAD


def is_group_change(payload: bytes) -> bool:
    """True for an entry that changes the group itself, see group_entries.py."""
    return payload[:1] == GROUP_CHANGE_PREFIX
