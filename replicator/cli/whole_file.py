"""Where a command writes data that are of use only as a whole: stdout, or a file that appears once it is whole."""

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from replicator.cli.exit_codes import CommandFailed, ExitCode

STDOUT: Final = "-"


@contextmanager
def whole_file(target: str) -> Iterator[IO[bytes]]:
    """target: a path, or `-`. The file has its name, and is on disk, once the block has ended without an error.

    Until then it stands beside, as `.NAME.*.partial`; an error deletes that. Raises CommandFailed if it cannot be
    written. Only its owner may read it: it may hold whatever the cluster holds.
    """
    try:
        if target == STDOUT:
            if sys.stdout is None:
                raise CommandFailed(ExitCode.USAGE, "stdout", "is closed; name a file with -o, or redirect stdout")
            with open(sys.stdout.fileno(), "wb", closefd=False) as stdout:
                yield stdout
        else:
            with _renamed_when_whole(Path(os.path.realpath(target))) as file:
                yield file
    except BrokenPipeError:
        raise  # who reads stdout needs no more of it
    except OSError as error:
        name = "stdout" if target == STDOUT else target
        raise CommandFailed(
            ExitCode.USAGE, name, f"cannot be written ({error.strerror}); check its path, permissions and space"
        ) from error


@contextmanager
def _renamed_when_whole(path: Path) -> Iterator[IO[bytes]]:
    _require_file(path)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", suffix=".partial", delete=False
    ) as partial:
        try:
            yield partial.file
            partial.flush()
            os.fsync(partial.fileno())
            Path(partial.name).replace(path)
        except BaseException:
            Path(partial.name).unlink(missing_ok=True)
            raise
    _sync_directory(path.parent)


def _require_file(path: Path) -> None:
    """A device, a pipe or a directory would be replaced, not written to."""
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise CommandFailed(ExitCode.USAGE, str(path), "is no regular file; use `-o -` and redirect stdout to it")


def _sync_directory(path: Path) -> None:
    """So that the name survives a power failure too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
