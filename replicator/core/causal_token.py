"""Causal tokens and page tokens: opaque text that names a point in the log of one cluster.

A token is the only thing that callers carry between services and regions, so it must refuse to be misread: it is
versioned, bound to its cluster by a tag, and closed by a checksum. It is no secret and no signature: all that it can do
is make a read wait.

    causal  version (1) | cluster tag (4) | log index (8) | crc32 (4)                         23 characters
    page    version (1) | cluster tag (4) | revision (8) | log index (8) | key (<= 480) | crc32 (4)

Both are base64url without padding.
"""

import binascii
import struct
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from replicator.model.errors import InvalidToken
from replicator.model.ids import ClusterId, LogIndex, Revision
from replicator.model.limits import KEY_BYTES_MAX, TOKEN_CHARS_MAX

_CAUSAL_VERSION: Final = 0x01
_PAGE_VERSION: Final = 0x81  # another number, so that neither is ever taken for the other
_TAG_BYTES: Final = 4
_CAUSAL: Final = struct.Struct(">B4sQ")
_PAGE: Final = struct.Struct(">B4sQQ")
_CRC: Final = struct.Struct(">I")
_INDEX_MAX: Final = (1 << 64) - 1
_CAUSAL_BYTES: Final = _CAUSAL.size + _CRC.size
_PAGE_BYTES_MAX: Final = _PAGE.size + KEY_BYTES_MAX + _CRC.size

CAUSAL_TOKEN_CHARS: Final = -(-_CAUSAL_BYTES * 4 // 3)
PAGE_TOKEN_CHARS_MAX: Final = -(-_PAGE_BYTES_MAX * 4 // 3)
assert CAUSAL_TOKEN_CHARS < TOKEN_CHARS_MAX, "the promise to callers who store tokens in headers and columns"


@dataclass(frozen=True, slots=True, order=True)
class CausalToken:
    """At least as new as `index`."""

    index: LogIndex

    def __post_init__(self) -> None:
        assert 0 <= self.index <= _INDEX_MAX, self.index

    def merge(self, other: "CausalToken") -> "CausalToken":
        """The later of two: whoever holds it has seen what both cover."""
        return max(self, other)

    def encode(self, cluster_id: ClusterId) -> str:
        """Url-safe text of CAUSAL_TOKEN_CHARS characters."""
        return _seal(_CAUSAL.pack(_CAUSAL_VERSION, _tag(cluster_id), self.index))

    @classmethod
    def decode(cls, text: str, cluster_id: ClusterId) -> "CausalToken":
        """The way back. Raises InvalidToken, which tells a malformed token from one of another cluster."""
        body = _open(text, _CAUSAL_VERSION, _TokenKind("causal token", TOKEN_CHARS_MAX))
        if len(body) != _CAUSAL.size:
            raise _malformed("causal token", f"it has {len(body)} bytes, not {_CAUSAL.size}")
        _, tag, index = _CAUSAL.unpack(body)
        _check_cluster("causal token", tag, cluster_id)
        return cls(LogIndex(index))


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where a scan goes on: after `resume_key`, at `revision`, on a replica that holds `index`."""

    revision: Revision
    index: LogIndex
    resume_key: bytes

    def __post_init__(self) -> None:
        assert 0 <= self.revision <= _INDEX_MAX, self.revision
        assert 0 <= self.index <= _INDEX_MAX, self.index
        assert 0 < len(self.resume_key) <= KEY_BYTES_MAX, len(self.resume_key)

    def encode(self, cluster_id: ClusterId) -> str:
        """Url-safe text of at most PAGE_TOKEN_CHARS_MAX characters."""
        return _seal(_PAGE.pack(_PAGE_VERSION, _tag(cluster_id), self.revision, self.index) + self.resume_key)

    @classmethod
    def decode(cls, text: str, cluster_id: ClusterId) -> "PageToken":
        """The way back. Raises InvalidToken, as CausalToken.decode does."""
        body = _open(text, _PAGE_VERSION, _TokenKind("page token", PAGE_TOKEN_CHARS_MAX))
        resume_key = body[_PAGE.size :]
        if not 0 < len(resume_key) <= KEY_BYTES_MAX:
            raise _malformed("page token", "it names no key to resume after")
        _, tag, revision, index = _PAGE.unpack_from(body)
        _check_cluster("page token", tag, cluster_id)
        return cls(Revision(revision), LogIndex(index), resume_key)


@dataclass(frozen=True, slots=True)
class _TokenKind:
    name: str
    chars_max: int


def _tag(cluster_id: ClusterId) -> bytes:
    return blake2b(cluster_id.encode(), digest_size=_TAG_BYTES).digest()


def _seal(body: bytes) -> str:
    return urlsafe_b64encode(body + _CRC.pack(zlib.crc32(body))).rstrip(b"=").decode("ascii")


def _open(text: str, version: int, kind: _TokenKind) -> bytes:
    """The checked body of a token, checksum taken off."""
    if len(text) > kind.chars_max:
        raise _malformed(kind.name, f"it has {len(text)} characters, the limit is {kind.chars_max}")
    try:
        sealed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise _malformed(kind.name, "it is not base64url text") from None
    # The decoder skips foreign characters and ignores spare bits; only text that we would write ourselves is a token.
    if urlsafe_b64encode(sealed).rstrip(b"=") != text.encode("ascii"):
        raise _malformed(kind.name, "it is not base64url text")
    body, checksum = sealed[: -_CRC.size], sealed[-_CRC.size :]
    if len(body) < _CAUSAL.size or checksum != _CRC.pack(zlib.crc32(body)):
        raise _malformed(kind.name, "its checksum does not match: it was cut or altered")
    if body[0] != version:
        raise _malformed(kind.name, f"its version is {body[0]:#04x}, this node reads {version:#04x}")
    return body


def _check_cluster(name: str, tag: bytes, cluster_id: ClusterId) -> None:
    if tag != _tag(cluster_id):
        raise InvalidToken(
            f"the {name} was issued by another cluster; this one is {cluster_id!r}, where it means nothing",
            metadata={"problem": "foreign", "cluster_id": cluster_id},
        )


def _malformed(name: str, problem: str) -> InvalidToken:
    return InvalidToken(
        f"the {name} is malformed: {problem}; hand it over exactly as it was received",
        metadata={"problem": "malformed"},
    )
