"""Checks what callers send, before anything else sees it. Every refusal names the field, the limit and what was given.

Knows: limits. Must not know: the store, the engine. What passes here is well-formed; whether it succeeds is decided
elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from replicator.machine.transaction_rules import flaw_of
from replicator.model.addresses import ADDRESS_CHARS_MAX, address_flaw
from replicator.model.errors import InvalidArgument
from replicator.model.ids import is_valid_name
from replicator.model.limits import (
    BATCH_OPERATIONS_MAX,
    CLIENT_ID_BYTES,
    FORMAT_LIMITS,
    FORMAT_LIMITS_NUMBER,
    KEY_BYTES_MAX,
    REQUEST_BYTES_MAX,
    SCAN_PAGE_KEYS_DEFAULT,
    SCAN_PAGE_KEYS_MAX,
    SESSION_RESULTS_MAX,
    VALUE_BYTES_MAX,
    in_mib,
)
from replicator.v1 import kv_pb2

NAME_CHARS_SHOWN: Final = 64  # of a refused one
POSITION_KEY: Final = "position"  # in the metadata of a refusal: which operation of its batch


@dataclass(frozen=True, slots=True)
class WriteId:
    """Names one write of one client; see kv.proto."""

    client_id: bytes
    sequence: int
    oldest_pending: int
    issued_ms: int


def check_key(key: bytes) -> None:
    """1 to KEY_BYTES_MAX bytes."""
    if not key:
        raise refuse("key", f"is empty; a key has 1 to {KEY_BYTES_MAX} bytes", limit=KEY_BYTES_MAX)
    if len(key) > KEY_BYTES_MAX:
        raise refuse("key", f"has {len(key)} bytes, the limit is {KEY_BYTES_MAX}", limit=KEY_BYTES_MAX)


def check_value(value: bytes) -> None:
    """At most VALUE_BYTES_MAX bytes; may be empty."""
    if len(value) > VALUE_BYTES_MAX:
        raise refuse(
            "value",
            f"has {len(value)} bytes, the limit is {VALUE_BYTES_MAX} ({in_mib(VALUE_BYTES_MAX)}); store a "
            "reference, or split it",
            limit=VALUE_BYTES_MAX,
        )


def check_operations(count: int) -> None:
    """Of one batch: 1 to BATCH_OPERATIONS_MAX."""
    if not 1 <= count <= BATCH_OPERATIONS_MAX:
        raise refuse(
            "keys", f"has {count} entries; a batch has 1 to {BATCH_OPERATIONS_MAX}", limit=BATCH_OPERATIONS_MAX
        )


def check_keys(keys: Sequence[bytes], positions: Sequence[int] | None = None) -> None:
    """Each as `check_key` says; the refusal names its operation. positions: of the operations that have a key."""
    lengths = list(map(len, keys))
    if min(lengths, default=1) < 1 or max(lengths, default=1) > KEY_BYTES_MAX:
        _check_each(check_key, keys, range(len(keys)) if positions is None else positions)


def check_values(values: Sequence[bytes], positions: Sequence[int]) -> None:
    """Each as `check_value` says; the refusal names its operation. positions: of the operations that have a value."""
    if max(map(len, values), default=0) > VALUE_BYTES_MAX:
        _check_each(check_value, values, positions)


def check_transaction(transaction: kv_pb2.Transaction) -> None:
    """All that no state of the store could make right. The refusal names the field by its path."""
    flaw = flaw_of(transaction, FORMAT_LIMITS[FORMAT_LIMITS_NUMBER], strict=True)
    if flaw is not None:
        raise refuse(flaw.field, flaw.problem, limit=flaw.limit)


def at_position(error: InvalidArgument, position: int) -> InvalidArgument:
    """The same, naming the operation of the batch that is at fault."""
    error.metadata[POSITION_KEY] = str(position)
    return error


def check_request_bytes(size_bytes: int) -> None:
    """The whole message, unknown fields included."""
    if size_bytes > REQUEST_BYTES_MAX:
        raise refuse(
            "request",
            f"has {size_bytes} bytes, the limit is {REQUEST_BYTES_MAX} ({in_mib(REQUEST_BYTES_MAX)})",
            limit=REQUEST_BYTES_MAX,
        )


def check_write_id(write_id: WriteId) -> None:
    """The shape only; whether the cluster still remembers the client is the state machine's business."""
    if len(write_id.client_id) != CLIENT_ID_BYTES:
        raise refuse(
            "write_id.client_id",
            f"has {len(write_id.client_id)} bytes; it is exactly {CLIENT_ID_BYTES} random bytes, drawn once per client",
            limit=CLIENT_ID_BYTES,
        )
    if write_id.issued_ms < 1:
        raise refuse(
            "write_id.issued_ms",
            "is missing; it is the log_time_ms of a status, noted when the client id is drawn, the same in each write",
        )
    if write_id.sequence < 1:
        raise refuse("write_id.sequence", "is 0; sequences count from 1")
    if not 1 <= write_id.oldest_pending <= write_id.sequence:
        raise refuse(
            "write_id.oldest_pending",
            f"is {write_id.oldest_pending}; it is the lowest sequence still waited for, 1 to {write_id.sequence} here",
        )
    if write_id.sequence - write_id.oldest_pending >= SESSION_RESULTS_MAX:
        raise refuse(
            "write_id.sequence",
            f"is {write_id.sequence - write_id.oldest_pending} ahead of oldest_pending; results of "
            f"{SESSION_RESULTS_MAX} writes are remembered, so wait for older ones first",
            limit=SESSION_RESULTS_MAX,
        )


def check_name(field: str, name: str) -> None:
    """Of a node or a region: 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-'."""
    if not is_valid_name(name):
        shown = name[:NAME_CHARS_SHOWN]
        raise refuse(field, f"is {shown!r}; a name has 1 to 63 of a-z, 0-9 and '-', and '-' neither first nor last")


def check_address(field: str, address: str) -> None:
    """HOST:PORT, at most ADDRESS_CHARS_MAX characters; see model/addresses.py."""
    flaw = address_flaw(address)
    if flaw is not None:
        raise refuse(
            field,
            f"is {address[:ADDRESS_CHARS_MAX]!r}, which {flaw}, of {ADDRESS_CHARS_MAX} characters at most",
            limit=ADDRESS_CHARS_MAX,
        )


def check_range(start: bytes, end: bytes) -> None:
    """[start, end): an empty start is the first key, an empty end is no end."""
    for field, bound in (("start", start), ("end", end)):
        if len(bound) > KEY_BYTES_MAX:
            raise refuse(field, f"has {len(bound)} bytes, the limit is {KEY_BYTES_MAX}", limit=KEY_BYTES_MAX)
    if end and end <= start:
        raise refuse("end", "is not after start: the range [start, end) holds no key")


def check_resume_key(key: bytes, start: bytes, end: bytes) -> None:
    """A page token continues the range it came from, no other."""
    if key < start or (end and key >= end):
        raise refuse("page_token", "belongs to a scan of another range; pass the start and end of its first page")


def page_keys(page_size: int) -> int:
    """The number of keys of a page: the asked one, or the default for 0."""
    if page_size > SCAN_PAGE_KEYS_MAX:
        raise refuse(
            "page_size",
            f"is {page_size}, the limit is {SCAN_PAGE_KEYS_MAX}; pages follow each other",
            limit=SCAN_PAGE_KEYS_MAX,
        )
    return page_size or SCAN_PAGE_KEYS_DEFAULT


def _check_each(check: Callable[[bytes], None], column: Sequence[bytes], positions: Sequence[int]) -> None:
    for position, entry in zip(positions, column, strict=True):
        try:
            check(entry)
        except InvalidArgument as error:
            raise at_position(error, position) from None


def refuse(field: str, problem: str, *, limit: int | None = None) -> InvalidArgument:
    """The one shape of an InvalidArgument."""
    metadata = {"field": field} | ({} if limit is None else {"limit": str(limit)})
    return InvalidArgument(f"{field} {problem}", metadata=metadata)
