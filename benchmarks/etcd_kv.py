"""The few bytes of etcd's KV API that the comparison needs, written and read by hand.

Four fields of its public protocol; a generated stub would bring the whole of it for no gain. The wire format is that
of protobuf.
"""

from collections.abc import Iterator
from typing import Final

PUT: Final = "/etcdserverpb.KV/Put"
RANGE: Final = "/etcdserverpb.KV/Range"

# PutRequest: key 1, value 2. RangeRequest: key 1, serializable 7. RangeResponse: kvs 2. KeyValue: value 5.
_KEY_TAG: Final = b"\x0a"
_VALUE_TAG: Final = b"\x12"
_SERIALIZABLE: Final = b"\x38\x01"
_RESPONSE_KVS: Final = 2
_KEY_VALUE_VALUE: Final = 5

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5


def put_request(key: bytes, value: bytes) -> bytes:
    return _KEY_TAG + _varint(len(key)) + key + _VALUE_TAG + _varint(len(value)) + value


def range_request(key: bytes, *, serializable: bool) -> bytes:
    """serializable: answered from the member's own state, which may be old; otherwise linearizable."""
    return _KEY_TAG + _varint(len(key)) + key + (_SERIALIZABLE if serializable else b"")


def first_value(response: bytes) -> bytes | None:
    """The value of the first pair of a RangeResponse; None if there is no pair."""
    for field, pair in _fields(response):
        if field == _RESPONSE_KVS:
            return next((value for name, value in _fields(pair) if name == _KEY_VALUE_VALUE), b"")
    return None


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """(number, where the next field begins)"""
    number = shift = 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, content) of the length-delimited fields; the others are skipped. Raises ValueError."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        elif kind == _LENGTH_DELIMITED:
            size, at = _read_varint(message, at)
            if at + size > len(message):
                raise ValueError(f"a field of {size} bytes at {at} in a message of {len(message)}")
            yield tag >> 3, message[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {kind} at {at}")
