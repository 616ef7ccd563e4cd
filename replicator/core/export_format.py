"""The file of an export: all pairs of one revision as JSON Lines, and back. Bytes in and out; no file is opened here.

    {"format": "replicator-export", "version": 1, "cluster": "shop", "revision": 7, "start": "", "end": ""}
    {"key": "a", "value": "1", "create_revision": 3, "mod_revision": 7, "version": 2}
    {"key_base64": "Yv8=", "value_base64": "AP4=", "create_revision": 5, "mod_revision": 5, "version": 1}
    {"count": 2, "sha256": "5a21..."}

Bytes that are UTF-8 stand as text under their name; others as base64 under the name with `_base64`. Keys ascend, so
none comes twice. The last line tells a whole file from one that was cut off: `sha256` is over all bytes before that
line, so `head -n -1 FILE | sha256sum` prints it too. A reader takes members in any order and spacing, and none that it
does not know.
"""

import binascii
import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NoReturn, TypeAlias

from replicator.model.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX, in_mib
from replicator.model.values import KeyValue

FORMAT_NAME: Final = "replicator-export"
FORMAT_VERSION: Final = 1
ESCAPED_BYTES_MAX: Final = 6  # what one byte of text can take in JSON: `\u0000`
LINE_BYTES_MAX: Final = ESCAPED_BYTES_MAX * (KEY_BYTES_MAX + VALUE_BYTES_MAX) + 1024

_NUMBER_MAX: Final = (1 << 64) - 1
_HEADER: Final = frozenset({"format", "version", "cluster", "revision", "start", "end"})
_PAIR: Final = frozenset({"key", "value", "create_revision", "mod_revision", "version"})
_END: Final = frozenset({"count", "sha256"})
_BASE64: Final = "_base64"
_AGAIN: Final = "take the file from where it was written, or export again"

Json: TypeAlias = str | int


@dataclass(frozen=True, slots=True)
class ExportHeader:
    """Whose pairs they are, of which revision, and of which keys: [start, end), an empty end meaning no end."""

    cluster: str
    revision: int
    start: bytes = b""
    end: bytes = b""


class BadExport(Exception):
    """The file is no whole export of a version that this release reads. line: where it shows, from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line


class ExportWriter:
    """Gives the lines of one export, each with its line feed: `begin`, `pair` for each pair in key order, `end`."""

    def __init__(self, header: ExportHeader) -> None:
        self.header = header
        self._sum = sha256()
        self._last_key = b""
        self.count = 0

    def begin(self) -> bytes:
        members: dict[str, Json] = {"format": FORMAT_NAME, "version": FORMAT_VERSION, "cluster": self.header.cluster}
        members["revision"] = self.header.revision
        return self._hashed(members | _member("start", self.header.start) | _member("end", self.header.end))

    def pair(self, kv: KeyValue) -> bytes:
        """The pair belongs to the header's range and revision, and its key is greater than those before."""
        flaw = _flaw_of(kv, self.header, self._last_key)
        assert not flaw, flaw
        self._last_key = kv.key
        self.count += 1
        return self._hashed(
            _member("key", kv.key)
            | _member("value", kv.value)
            | {"create_revision": kv.create_revision, "mod_revision": kv.mod_revision, "version": kv.version}
        )

    def end(self) -> bytes:
        return _line({"count": self.count, "sha256": self._sum.hexdigest()})

    def _hashed(self, members: dict[str, Json]) -> bytes:
        line = _line(members)
        self._sum.update(line)
        return line


class ExportReader:
    """Takes the lines of one export and gives its pairs. Raises BadExport, and nothing else, whatever the bytes are.

    Pairs are proven only once `finish` has returned: until then, what follows them may be missing or damaged.
    """

    def __init__(self) -> None:
        self._sum = sha256()
        self._last_key = b""
        self._has_ended = False
        self.header: ExportHeader | None = None
        self.count = 0
        self.line = 0  # taken last, from 1

    def take(self, line: bytes) -> KeyValue | None:
        """The next line, with its line feed. None for the first and the last one, which hold no pair."""
        self.line += 1
        members = self._members(line)
        if self._has_ended:
            self._refuse(f"more follows the last line of the export; {_AGAIN}")
        if self.header is not None and members.keys() == _END:
            self._check_end(members)
            return None
        pair = None
        if self.header is None:
            self.header = self._header_of(members)
        else:
            pair = self._pair_of(members, self.header)
        self._sum.update(line)
        return pair

    def finish(self) -> None:
        """At the end of the file. Raises BadExport if it was cut off."""
        if not self._has_ended:
            self.line += 1
            self._refuse(f"the file ends before the last line of the export: it was cut off; {_AGAIN}")

    def _members(self, line: bytes) -> dict[str, object]:
        if len(line) > LINE_BYTES_MAX:
            self._refuse(
                f"more than {LINE_BYTES_MAX} bytes without an end; no line of an export is as long{self._no_export()}"
            )
        if not line.endswith(b"\n"):
            self._refuse(f"the file ends within this line: it was cut off; {_AGAIN}")
        try:
            found = json.loads(line.decode("utf-8"), object_pairs_hook=_without_doubles)
        except (ValueError, RecursionError):  # of UTF-8, of JSON, of a member that stands twice
            found = None
        if not isinstance(found, dict):
            self._refuse(f"not one object in JSON{self._no_export()}")
        return found

    def _header_of(self, members: dict[str, object]) -> ExportHeader:
        if members.get("format") != FORMAT_NAME:
            self._refuse(f"no header of an export{self._no_export()}")
        version = self._number(members, "version")
        if version != FORMAT_VERSION:
            self._refuse(
                f"the file has version {version} of the format, this release reads version {FORMAT_VERSION}; import "
                "it with a release that knows that version"
            )
        self._check_names(members, _HEADER)
        cluster = members.get("cluster")
        if not isinstance(cluster, str):
            self._refuse("cluster is no text")
        return ExportHeader(
            cluster, self._number(members, "revision"), self._bytes(members, "start"), self._bytes(members, "end")
        )

    def _pair_of(self, members: dict[str, object], header: ExportHeader) -> KeyValue:
        self._check_names(members, _PAIR)
        kv = KeyValue(
            self._bytes(members, "key"),
            self._bytes(members, "value"),
            self._number(members, "create_revision"),
            self._number(members, "mod_revision"),
            self._number(members, "version"),
        )
        flaw = _flaw_of(kv, header, self._last_key)
        if flaw:
            self._refuse(flaw)
        self._last_key = kv.key
        self.count += 1
        return kv

    def _check_end(self, members: dict[str, object]) -> None:
        count = self._number(members, "count")
        if count != self.count:
            self._refuse(
                f"counts {count} pairs, and {self.count} stand before it: lines are missing or added; {_AGAIN}"
            )
        if members.get("sha256") != self._sum.hexdigest():
            self._refuse(f"the lines before do not have this sha256: the file was changed or damaged; {_AGAIN}")
        self._has_ended = True

    def _check_names(self, members: dict[str, object], expected: frozenset[str]) -> None:
        """Each expected member once, as text or as base64; no other."""
        names = [name.removesuffix(_BASE64) for name in members]
        if len(names) != len(expected) or set(names) != expected:
            self._refuse(f"needs the members {', '.join(sorted(expected))}, and no others; {_AGAIN}")

    def _bytes(self, members: dict[str, object], name: str) -> bytes:
        text, encoded = members.get(name), members.get(name + _BASE64)
        try:
            if isinstance(text, str):
                return text.encode("utf-8")
            if isinstance(encoded, str):
                return b64decode(encoded, validate=True)
        except (UnicodeEncodeError, binascii.Error, ValueError):
            pass
        return self._refuse(f"{name} is no text, and {name}{_BASE64} no base64")

    def _number(self, members: dict[str, object], name: str) -> int:
        found = members.get(name)
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= _NUMBER_MAX:
            self._refuse(f"{name} is no whole number from 0 to {_NUMBER_MAX}")
        return found

    def _no_export(self) -> str:
        return ": this is no file of `replicator export`" if self.line == 1 else f"; {_AGAIN}"

    def _refuse(self, problem: str) -> NoReturn:
        raise BadExport(self.line, problem)


def _flaw_of(kv: KeyValue, header: ExportHeader, last_key: bytes) -> str:
    """What prevents that the pair comes after `last_key` in an export with this header; empty if nothing does."""
    if not 1 <= len(kv.key) <= KEY_BYTES_MAX:
        return f"key has {len(kv.key)} bytes, 1 to {KEY_BYTES_MAX} are allowed"
    if len(kv.value) > VALUE_BYTES_MAX:
        return f"value has {len(kv.value)} bytes, the limit is {in_mib(VALUE_BYTES_MAX)}"
    if kv.key <= last_key:
        return f"the key is not greater than that of the line before; {_AGAIN}"
    if kv.key < header.start or (header.end and kv.key >= header.end):
        return f"the key is outside the range that the header names; {_AGAIN}"
    if not 1 <= kv.create_revision <= kv.mod_revision <= header.revision or kv.version < 1:
        return f"the revisions contradict each other, or the header's revision {header.revision}; {_AGAIN}"
    return ""


def _member(name: str, data: bytes) -> dict[str, Json]:
    try:
        return {name: data.decode("utf-8")}
    except UnicodeDecodeError:
        return {name + _BASE64: b64encode(data).decode("ascii")}


def _line(members: dict[str, Json]) -> bytes:
    return json.dumps(members, ensure_ascii=False).encode("utf-8") + b"\n"


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members
