"""An export as `import` reads it: once to check it where that is possible, and once to load it."""

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final

from replicator.cli.exit_codes import CommandFailed, ExitCode
from replicator.core.export_format import LINE_BYTES_MAX, BadExport, ExportReader
from replicator.model.limits import BATCH_OPERATIONS_MAX
from replicator.model.values import KeyValue

STDIN: Final = "-"
BATCH_BYTES_MAX: Final = 1 << 20  # of keys and values; the last pair of a batch may exceed it


class ExportFile:
    """To be had from `opened_export`."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name, self._file = name, file
        found = os.fstat(file.fileno())
        self.can_be_checked = stat.S_ISREG(found.st_mode)
        self._start = file.tell() if self.can_be_checked else 0
        self.size_bytes = found.st_size - self._start if self.can_be_checked else None

    def check(self, advance: Callable[[int], None]) -> None:
        """Reads all of it, and goes back to its start. advance: told of bytes. Raises CommandFailed."""
        assert self.can_be_checked
        for _ in self.batches(advance):
            pass
        self._file.seek(self._start)

    def batches(self, advance: Callable[[int], None]) -> Iterator[Sequence[KeyValue]]:
        """The pairs, in memory one batch at a time. Raises CommandFailed for what is no whole export."""
        reader = ExportReader()
        batch: list[KeyValue] = []
        pair_bytes = line_bytes = 0
        try:
            while line := self._file.readline(LINE_BYTES_MAX + 1):
                line_bytes += len(line)
                pair = reader.take(line)
                if pair is not None:
                    batch.append(pair)
                    pair_bytes += len(pair.key) + len(pair.value)
                if len(batch) == BATCH_OPERATIONS_MAX or pair_bytes >= BATCH_BYTES_MAX:
                    yield batch
                    advance(line_bytes)
                    batch, pair_bytes, line_bytes = [], 0, 0
            reader.finish()
        except BadExport as error:
            raise CommandFailed(ExitCode.USAGE, self._name, str(error)) from error
        except OSError as error:
            raise _unreadable(self._name, error) from error
        if batch:
            yield batch
        advance(line_bytes)


@contextmanager
def opened_export(source: str) -> Iterator[ExportFile]:
    """source: a path, or `-` for stdin. Raises CommandFailed."""
    if source == STDIN and sys.stdin is None:
        raise CommandFailed(ExitCode.USAGE, "stdin", "is closed; name a file")
    name = "stdin" if source == STDIN else source
    try:
        # A file of our own also for stdin: a thread that waits in the interpreter's would hold up its exit.
        file = open(sys.stdin.fileno() if source == STDIN else source, "rb", closefd=source != STDIN)  # noqa: SIM115
    except OSError as error:
        raise _unreadable(name, error) from error
    export = ExportFile(name, file)
    try:
        yield export
    finally:
        if export.can_be_checked:  # a pipe stays open: closing it would wait for the thread that may wait for its input
            file.close()


def _unreadable(name: str, error: OSError) -> CommandFailed:
    return CommandFailed(ExitCode.USAGE, name, f"cannot be read ({error.strerror}); check its path and permissions")
