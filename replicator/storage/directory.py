"""The data directory: one process at a time, and room on the disk set aside before it is needed."""

import fcntl
import os
from pathlib import Path
from typing import Final

from replicator.model.errors import DataDirectoryError

LOCK_FILE: Final = "LOCK"
_PID_CHARS: Final = 20  # fixed, so that rewriting the file never needs a new block


class DirectoryLock:
    """Held until `release` or the end of the process, however it ends."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @classmethod
    def acquire(cls, directory: Path) -> "DirectoryLock":
        """Raises DataDirectoryError, naming the holder's pid, if another process (or this one) holds it."""
        fd = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, _PID_CHARS, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise DataDirectoryError(
                f"{directory}: in use by process {holder}; stop it, or give this node a directory of its own"
            ) from None
        _note_pid(fd)
        return cls(fd)

    def release(self) -> None:
        """Releasing twice is fine."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _note_pid(fd: int) -> None:
    try:
        os.pwrite(fd, f"{os.getpid():<{_PID_CHARS}d}".encode(), 0)
    except OSError:
        # The lock is what counts. On a full disk the file may stay empty; a node that serves reads must still start.
        return


def make_directory(path: Path) -> None:
    """Creates the directory (mode 0700) with its parents, durably."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_directory(path.parent)
    except FileExistsError:
        raise DataDirectoryError(f"{path}: is not a directory; name another one") from None
    except OSError as error:
        raise DataDirectoryError(f"{path}: cannot be created ({error.strerror}); check path and permissions") from error


def sync_directory(path: Path) -> None:
    """Makes the directory's entries durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def reserve(fd: int, size_bytes: int, *, from_bytes: int = 0) -> None:
    """Makes sure that the file has blocks on the disk from `from_bytes` to `size_bytes`, growing it if need be.

    A write within them cannot run out of space (except on copy-on-write file systems). Raises OSError with ENOSPC,
    EDQUOT or EFBIG if there is no room; the file then has its old length and holds no more than before.
    """
    old_bytes = os.fstat(fd).st_size
    if not hasattr(os, "posix_fallocate"):  # macOS: a full disk then stops the node, which is loud but loses nothing
        os.ftruncate(fd, max(old_bytes, size_bytes))
        return
    try:
        os.posix_fallocate(fd, from_bytes, size_bytes - from_bytes)
    except OSError:
        os.ftruncate(fd, old_bytes)  # a failed attempt keeps the blocks that it got
        raise
