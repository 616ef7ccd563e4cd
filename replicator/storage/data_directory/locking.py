"""The data directory: one process at a time, and room on the disk set aside before it is needed."""

import fcntl
import os
from pathlib import Path
from typing import Final

from replicator.model.errors import DataDirectoryError
from replicator.storage.data_directory import trust

LOCK_FILE: Final = "LOCK"
_PID_CHARS: Final = 20  # fixed, so that rewriting the file never needs a new block


class DirectoryInUse(DataDirectoryError):
    """A node runs on it. holder: its process id as text, `unknown` if the file LOCK does not say."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path}: in use by process {holder}; stop it, or give this node a directory of its own")
        self.holder = holder


class DirectoryLock:
    """Held until `release` or the end of the process, however it ends. On the directory itself: no name can be deleted.

    The file LOCK says who holds it. It is locked as well, since releases of format 1 know that lock only.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fds = [fd]

    @classmethod
    def acquire(cls, path: Path) -> "DirectoryLock":
        """Alone. Raises DataDirectoryError, naming the holder, if it is in use, or may not be used (see trust.py)."""
        lock = cls(path, trust.open_directory(path))
        try:
            trust.check_directory(lock.fd, path)
            lock._take(fcntl.LOCK_EX)
            note_fd = trust.open_file(lock.fd, path / LOCK_FILE)
            lock._fds.append(note_fd)
            try:
                fcntl.flock(note_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise lock._in_use() from None
            _note_pid(note_fd)
        except BaseException:
            lock.release()
            raise
        return lock

    @classmethod
    def share(cls, path: Path) -> "DirectoryLock":
        """With others that only read. Writes nothing, not even to LOCK. Raises DataDirectoryError."""
        lock = cls(path, trust.open_directory(path))
        try:
            lock._take(fcntl.LOCK_SH)
        except BaseException:
            lock.release()
            raise
        return lock

    @property
    def fd(self) -> int:
        """Of the directory."""
        return self._fds[0]

    def is_in_place(self) -> bool:
        """Whether the directory is still what its path leads to: it may have been moved, and another put there."""
        try:
            held, found = os.fstat(self.fd), self._path.lstat()
        except FileNotFoundError:
            return False
        return (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino)

    def release(self) -> None:
        """Releasing twice is fine."""
        while self._fds:
            os.close(self._fds.pop())

    def _take(self, how: int) -> None:
        try:
            fcntl.flock(self.fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._in_use() from None
        if not self.is_in_place():
            raise DataDirectoryError(f"{self._path}: was replaced while it was being opened; start again")

    def _in_use(self) -> DataDirectoryError:
        if self._is_only_read():
            return DataDirectoryError(f"{self._path}: is being read by `replicator export`; wait until that ends")
        try:
            fd = os.open(LOCK_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError:
            holder = ""
        else:
            holder = os.pread(fd, _PID_CHARS, 0).decode("ascii", "replace").strip()
            os.close(fd)
        return DirectoryInUse(self._path, holder or "unknown")

    def _is_only_read(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return len(self._fds) == 1  # else the file LOCK is what is locked


def holder_of(path: Path) -> str | None:
    """The process that runs on the directory, as text; None if there is none, or no directory. Writes nothing."""
    if not path.is_dir():
        return None
    try:
        DirectoryLock.share(path).release()
    except DirectoryInUse as error:
        return error.holder
    return None


def _note_pid(fd: int) -> None:
    try:
        os.pwrite(fd, f"{os.getpid():<{_PID_CHARS}d}".encode(), 0)
    except OSError:
        # The lock is what counts. On a full disk the file may stay empty; a node that serves reads must still start.
        return


def make_directory(path: Path) -> None:
    """Creates the directory (mode 0700) with its parents, durably. Raises DataDirectoryError, also if it is a link."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_directory(path.parent)
        os.close(trust.open_directory(path))
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
