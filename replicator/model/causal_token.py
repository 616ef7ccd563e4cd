"""Causal tokens and page tokens: opaque text that names a point in the log of one Raft group.

A token is the only thing that callers carry between services and regions, so it must refuse to be misread: it is
versioned, bound to its group by a tag of the founder, and closed by a checksum. It is no secret and no signature: all
that it can do is make a read wait.

    causal  version (1) | founder tag (8) | group id (4) | log index (8) | revision (8) | crc32 (4)    44 characters
            the same without the revision, as the release before issued it: 34 characters
    page    version (1) | founder tag (8) | group id (4) | revision (8) | log index (8) | key (<= 4096) | crc32 (4)

Both are base64url without padding. The founder, not the configured name, says whose log it is: a cluster that was
founded again has the same name and another log. The group id tells which of a cluster's groups is meant without a
search among tags. It has a fixed width, so that a token's length tells nothing and one struct reads it; today it is 0.
"""

import binascii
import struct
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from replicator.model.errors import InvalidToken
from replicator.model.ids import LogIndex, Revision
from replicator.model.limits import KEY_BYTES_MAX, TOKEN_CHARS_MAX

_CAUSAL_VERSION: Final = 0x03
_WITHOUT_REVISION: Final = 0x02  # read for ever: callers keep tokens in columns and headers
_PAGE_VERSION: Final = 0x82  # another number, so that neither is ever taken for the other
_OLD_VERSION_OF: Final = {_CAUSAL_VERSION: 0x01, _PAGE_VERSION: 0x81}  # were bound to the cluster's name
_TAG_BYTES: Final = 8
_CAUSAL: Final = struct.Struct(">B8sIQQ")
_CAUSAL_SHORT: Final = struct.Struct(">B8sIQ")
_PAGE: Final = struct.Struct(">B8sIQQ")
_CRC: Final = struct.Struct(">I")
_INDEX_MAX: Final = (1 << 64) - 1
_CAUSAL_BYTES: Final = _CAUSAL.size + _CRC.size
_PAGE_BYTES_MAX: Final = _PAGE.size + KEY_BYTES_MAX + _CRC.size

TOKEN_HEADER: Final = "x-causal-token"  # noqa: S105  # a name, of HTTP's headers and of gRPC's metadata
CAUSAL_TOKEN_CHARS: Final = -(-_CAUSAL_BYTES * 4 // 3)
PAGE_TOKEN_CHARS_MAX: Final = -(-_PAGE_BYTES_MAX * 4 // 3)
assert CAUSAL_TOKEN_CHARS <= TOKEN_CHARS_MAX, "the promise to callers who store tokens in headers and columns"


@dataclass(frozen=True, slots=True)
class TokenScope:
    """Whose log a token names a point of. founder_tag: of the group's founder. group_id: which group of the cluster."""

    founder_tag: bytes
    group_id: int = 0


@lru_cache(maxsize=16)
def token_scope(founder: bytes) -> TokenScope:
    """The scope of the group with this founder (Membership.founder). Hashed once for each founder."""
    assert founder, "no token before the group is founded"
    return TokenScope(blake2b(founder, digest_size=_TAG_BYTES).digest())


@dataclass(frozen=True, slots=True)
class CausalToken:
    """At least as new as `index`. revision: its holder has seen all changes up to it; None if the token does not say.

    Reads go by the index, a watch goes on after the revision. The state at `index` holds that revision, and may hold
    later ones.
    """

    index: LogIndex
    revision: Revision | None = None

    def __post_init__(self) -> None:
        assert 0 <= self.index <= _INDEX_MAX, self.index
        assert 0 <= (self.revision or 0) <= _INDEX_MAX, self.revision

    def merge(self, other: "CausalToken") -> "CausalToken":
        """The later of two: its holder has seen everything that both cover."""
        return max(self, other, key=lambda token: (token.index, token.revision or 0))

    def encode(self, scope: TokenScope) -> str:
        """Url-safe text of CAUSAL_TOKEN_CHARS characters, or fewer without a revision."""
        if self.revision is None:
            return _seal(_CAUSAL_SHORT.pack(_WITHOUT_REVISION, scope.founder_tag, scope.group_id, self.index))
        return _seal(_CAUSAL.pack(_CAUSAL_VERSION, scope.founder_tag, scope.group_id, self.index, self.revision))

    @classmethod
    def decode(cls, text: str, scope: TokenScope) -> "CausalToken":
        """The way back. Raises InvalidToken; its `problem` is malformed, old_release or foreign."""
        issued, token = cls.read(text)
        _check_scope("causal token", issued, scope)
        return token

    @classmethod
    def read(cls, text: str) -> "tuple[TokenScope, CausalToken]":
        """Whose log it names a point of, and which. Raises InvalidToken; its `problem` is malformed or old_release."""
        body = _open(text, (_CAUSAL_VERSION, _WITHOUT_REVISION), _TokenKind("causal token", TOKEN_CHARS_MAX))
        layout = _CAUSAL if body[0] == _CAUSAL_VERSION else _CAUSAL_SHORT
        if len(body) != layout.size:
            raise _malformed("causal token", f"it has {len(body)} bytes, not {layout.size}")
        _, tag, group_id, index, *revision = layout.unpack(body)
        return TokenScope(tag, group_id), cls(LogIndex(index), Revision(revision[0]) if revision else None)


def later(one: str, other: str) -> str:
    """Of two tokens of one group, the one that covers both.

    Raises InvalidToken; its `problem` is malformed, old_release, or foreign if they are of two groups.
    """
    (scope, point), (other_scope, other_point) = CausalToken.read(one), CausalToken.read(other)
    _check_scope("second causal token", other_scope, scope)
    return one if point.merge(other_point) is point else other


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

    def encode(self, scope: TokenScope) -> str:
        """Url-safe text of at most PAGE_TOKEN_CHARS_MAX characters."""
        head = _PAGE.pack(_PAGE_VERSION, scope.founder_tag, scope.group_id, self.revision, self.index)
        return _seal(head + self.resume_key)

    @classmethod
    def decode(cls, text: str, scope: TokenScope) -> "PageToken":
        """The way back. Raises InvalidToken, as CausalToken.decode does."""
        body = _open(text, (_PAGE_VERSION,), _TokenKind("page token", PAGE_TOKEN_CHARS_MAX))
        resume_key = body[_PAGE.size :]
        if not 0 < len(resume_key) <= KEY_BYTES_MAX:
            raise _malformed("page token", "it names no key to resume after")
        _, tag, group_id, revision, index = _PAGE.unpack_from(body)
        _check_scope("page token", TokenScope(tag, group_id), scope)
        return cls(Revision(revision), LogIndex(index), resume_key)


@dataclass(frozen=True, slots=True)
class _TokenKind:
    name: str
    chars_max: int


def _seal(body: bytes) -> str:
    return urlsafe_b64encode(body + _CRC.pack(zlib.crc32(body))).rstrip(b"=").decode("ascii")


def _open(text: str, versions: tuple[int, ...], kind: _TokenKind) -> bytes:
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
    if not body or checksum != _CRC.pack(zlib.crc32(body)):
        raise _malformed(kind.name, "its checksum does not match: it was cut or altered")
    if body[0] == _OLD_VERSION_OF[versions[0]]:
        raise InvalidToken(
            f"the {kind.name} was issued by an older release, whose tokens did not say which group they belong to; "
            "drop it and read without it",
            metadata={"problem": "old_release"},
        )
    if body[0] not in versions:
        read = " and ".join(f"{version:#04x}" for version in versions)
        raise _malformed(kind.name, f"its version is {body[0]:#04x}, this release reads {read}")
    return body


def _check_scope(name: str, issued: TokenScope, here: TokenScope) -> None:
    if issued != here:
        raise InvalidToken(
            f"the {name} was issued by another group: of another cluster, or this one was founded again, "
            "recovered or restored since; drop it and read without it",
            metadata={"problem": "foreign"},
        )


def _malformed(name: str, problem: str) -> InvalidToken:
    return InvalidToken(
        f"the {name} is malformed: {problem}; hand it over exactly as it was received",
        metadata={"problem": "malformed"},
    )
