"""How a caller's key becomes one of LMDB's, which hold 511 bytes at most, in the same order.

A zero byte is written as 00 ff, so that 00 00 can end a key where something follows it. What is then longer than
STEM_BYTES is cut there, and a marker and a digest of the whole key follow; the whole key is in its change. So all long
keys with one stem stand together, after the short key that equals the stem and before all that follow: a scan reads
such a group, sorts it by whole keys and goes on.
"""

from hashlib import blake2b
from typing import Final

from replicator.storage.state.records import NUMBER_BYTES

STEM_BYTES: Final = 400
KEY_DIGEST_BYTES: Final = 32
LONG_KEY_BYTES: Final = STEM_BYTES + 1 + KEY_DIGEST_BYTES
_LMDB_KEY_BYTES_MAX: Final = 511
_ZERO, _ESCAPED_ZERO, _END = b"\x00", b"\x00\xff", b"\x00\x00"
_MARKER, _AFTER_MARKER = b"\x01", b"\x02"
assert LONG_KEY_BYTES + len(_END) + NUMBER_BYTES <= _LMDB_KEY_BYTES_MAX


def stored_key(key: bytes) -> bytes:
    """The key of `index` for a caller's key. Different keys have different ones."""
    if len(key) <= STEM_BYTES and _ZERO not in key:  # the common case, asked for with every write
        return key
    escaped = key.replace(_ZERO, _ESCAPED_ZERO)
    if len(escaped) <= STEM_BYTES:
        return escaped
    return escaped[:STEM_BYTES] + _MARKER + blake2b(key, digest_size=KEY_DIGEST_BYTES).digest()


def is_long(stored: bytes) -> bool:
    """Whether a stored key does not hold the whole key."""
    return len(stored) > STEM_BYTES


def whole_key(stored: bytes) -> bytes:
    """The caller's key of a stored one that is not long."""
    return stored.replace(_ESCAPED_ZERO, _ZERO)


def first_stored(key: bytes) -> bytes:
    """Where a scan from `key` on begins: nothing at or after `key` is stored before it.

    If `key` is a long one, what is found there may be before it.
    """
    return key.replace(_ZERO, _ESCAPED_ZERO)[:STEM_BYTES]


def group_of(stored: bytes) -> tuple[bytes, bytes]:
    """First and end (exclusive) of the stored keys that share the stem of a long one."""
    stem = stored[:STEM_BYTES]
    return stem + _MARKER, stem + _AFTER_MARKER


def superseded_prefix(stored: bytes) -> bytes:
    """What the keys of `superseded` begin with that are of this stored key, and no others."""
    return stored + _END
