"""Checks what callers send, before anything else sees it. Every refusal names the field, the limit and what was given.

Knows: limits. Must not know: the store, the engine. What passes here is well-formed; whether it succeeds is decided
elsewhere.
"""

from dataclasses import dataclass
from typing import Final

from replicator.model.addresses import ADDRESS_CHARS_MAX, ADDRESS_FORM, is_valid_address
from replicator.model.errors import InvalidArgument
from replicator.model.ids import is_valid_name
from replicator.model.limits import (
    CLIENT_ID_BYTES,
    KEY_BYTES_MAX,
    REQUEST_BYTES_MAX,
    SCAN_PAGE_KEYS_DEFAULT,
    SCAN_PAGE_KEYS_MAX,
    SESSION_RESULTS_MAX,
    VALUE_BYTES_MAX,
)

NAME_CHARS_SHOWN: Final = 64  # of a refused one


@dataclass(frozen=True, slots=True)
class WriteId:
    """Names one write of one client; see kv.proto."""

    client_id: bytes
    sequence: int
    oldest_pending: int


def check_key(key: bytes) -> None:
    """1 to KEY_BYTES_MAX bytes."""
    if not key:
        raise refuse("key", "is empty; a key has 1 to 480 bytes", limit=KEY_BYTES_MAX)
    if len(key) > KEY_BYTES_MAX:
        raise refuse("key", f"has {len(key)} bytes, the limit is {KEY_BYTES_MAX}", limit=KEY_BYTES_MAX)


def check_value(value: bytes) -> None:
    """At most VALUE_BYTES_MAX bytes; may be empty."""
    if len(value) > VALUE_BYTES_MAX:
        raise refuse(
            "value",
            f"has {len(value)} bytes, the limit is {VALUE_BYTES_MAX} (1 MiB); store a reference, or split it",
            limit=VALUE_BYTES_MAX,
        )


def check_request_bytes(size_bytes: int) -> None:
    """The whole message, unknown fields included."""
    if size_bytes > REQUEST_BYTES_MAX:
        raise refuse(
            "request", f"has {size_bytes} bytes, the limit is {REQUEST_BYTES_MAX} (1.5 MiB)", limit=REQUEST_BYTES_MAX
        )


def check_write_id(write_id: WriteId) -> None:
    """The shape only; whether the cluster still remembers the client is the state machine's business."""
    if len(write_id.client_id) != CLIENT_ID_BYTES:
        raise refuse(
            "write_id.client_id",
            f"has {len(write_id.client_id)} bytes; it is exactly {CLIENT_ID_BYTES} random bytes, drawn once per client",
            limit=CLIENT_ID_BYTES,
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
    if not is_valid_address(address):
        raise refuse(
            field,
            f"is {address[:ADDRESS_CHARS_MAX]!r}; it must be {ADDRESS_FORM}, of {ADDRESS_CHARS_MAX} characters at most",
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


def refuse(field: str, problem: str, *, limit: int | None = None) -> InvalidArgument:
    """The one shape of an InvalidArgument."""
    metadata = {"field": field} | ({} if limit is None else {"limit": str(limit)})
    return InvalidArgument(f"{field} {problem}", metadata=metadata)
