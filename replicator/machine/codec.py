"""Log payloads: how commands become the bytes of an entry, and back.

A payload begins with one byte that says what follows. The values are those of the engine (`_COMMAND_TYPE` of pysyncobj
0.3.17), so that its own no-op entries need no translation.
"""

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from replicator.v1 import store_pb2

REGULAR: Final = 0x00  # a serialized store_pb2.Batch follows
NO_OP: Final = 0x01  # nothing follows that matters
GROUP_CHANGE: Final = 0x02  # a serialized store_pb2.GroupChange follows
REGULAR_PREFIX: Final = bytes((REGULAR,))
NO_OP_PAYLOAD: Final = bytes((NO_OP,))
GROUP_CHANGE_PREFIX: Final = bytes((GROUP_CHANGE,))


def encode_batch(time_ms: int, commands: Sequence[bytes]) -> bytes:
    """The payload of one entry, first byte included. commands: a serialized store_pb2.Command each."""
    return REGULAR_PREFIX + store_pb2.Batch(time_ms=time_ms, commands=commands).SerializeToString()


def decode_batch(payload: bytes) -> store_pb2.Batch | None:
    """The batch of a whole payload (first byte included); None if it is not a regular one or does not decode."""
    if payload[:1] != REGULAR_PREFIX:
        return None
    batch = store_pb2.Batch()
    try:
        batch.ParseFromString(payload[1:])
    except DecodeError:
        return None
    return batch


def decode_command(data: bytes) -> store_pb2.Command | None:
    """One command of a batch; None if it does not decode."""
    command = store_pb2.Command()
    try:
        command.ParseFromString(data)
    except DecodeError:
        return None
    return command


def is_no_op(payload: bytes) -> bool:
    """True for the entry that a new leader appends to learn what is committed."""
    return payload[:1] == NO_OP_PAYLOAD


def is_group_change(payload: bytes) -> bool:
    """True for an entry that changes the group itself, see group.py."""
    return payload[:1] == GROUP_CHANGE_PREFIX
