"""Exports as bytes, without a file: written and read back in one go."""

import io
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from hashlib import sha256

from replicator.core import export_format
from replicator.core.export_format import ExportHeader, ExportReader, ExportWriter
from replicator.model.values import KeyValue
from tests.support.planted_bugs import replaced


def exported(header: ExportHeader, pairs: Iterable[KeyValue]) -> bytes:
    """The whole file."""
    writer = ExportWriter(header)
    return b"".join([writer.begin(), *map(writer.pair, pairs), writer.end()])


def read_back(data: bytes) -> tuple[ExportHeader, list[KeyValue]]:
    """Raises BadExport."""
    reader = ExportReader()
    pairs = [pair for line in io.BytesIO(data) for pair in _some(reader.take(line))]
    reader.finish()
    assert reader.header is not None
    return reader.header, pairs


def a_pair(key: bytes, value: bytes, *, revision: int = 1) -> KeyValue:
    """One that was written once."""
    return KeyValue(key, value, revision, revision, 1)


def an_export(pairs: dict[bytes, bytes]) -> bytes:
    """Of these pairs, all of revision 1."""
    return exported(ExportHeader("test", 1), [a_pair(key, pairs[key]) for key in sorted(pairs)])


# What a wrong codec would do ----------------------------------------------------------------------------------------


def drops_the_mark_of_base64() -> AbstractContextManager[None]:
    original = export_format._member

    def unmarked(name: str, data: bytes) -> dict[str, export_format.Json]:
        return {member.removesuffix("_base64"): text for member, text in original(name, data).items()}

    return replaced(export_format, "_member", unmarked)


def replaces_what_is_no_text() -> AbstractContextManager[None]:
    return replaced(export_format, "_member", lambda name, data: {name: data.decode("utf-8", "replace")})


def hashes_the_header_only() -> AbstractContextManager[None]:
    """On both sides, so that they agree."""

    class HeaderSum:
        def __init__(self) -> None:
            self._sum = sha256()

        def update(self, line: bytes) -> None:
            if b'"format"' in line:
                self._sum.update(line)

        def hexdigest(self) -> str:
            return self._sum.hexdigest()

    return replaced(export_format, "sha256", HeaderSum)


def takes_a_file_that_was_cut_off() -> AbstractContextManager[None]:
    return replaced(ExportReader, "finish", lambda _self: None)


def _some(pair: KeyValue | None) -> Iterator[KeyValue]:
    if pair is not None:
        yield pair
