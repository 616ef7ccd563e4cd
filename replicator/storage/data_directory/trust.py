"""May a directory or a file be used? Not if others may write to it, and not if its name leads somewhere else.

Everything in a data directory is written by the node alone. A user who can write there as well decides what the node
reads, and through a link, what it overwrites elsewhere.
"""

import errno
import logging
import os
import stat
from pathlib import Path
from typing import Final

from replicator.model.errors import DataDirectoryError

_log = logging.getLogger(__name__)

_ROOT: Final = 0  # may write everywhere anyway; owns the volumes of containers


def open_directory(path: Path) -> int:
    """A descriptor of the directory itself. Raises DataDirectoryError if it is a link or no directory; OSError."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        what = "is a symbolic link, put a directory there" if path.is_symlink() else "is not a directory"
        raise DataDirectoryError(f"{path}: {what}; name another one") from None


def check_directory(fd: int, path: Path) -> None:
    """fd: open on it. Raises DataDirectoryError if others may write to it; warns if its group may."""
    status = os.fstat(fd)
    _check_writers(status, path)
    if status.st_mode & stat.S_IWGRP:
        _log.warning("%s: its group %d may write to it; chmod g-w %s, unless nobody else is in it", path,
                     status.st_gid, path)  # fmt: skip


def check_if_there(path: Path) -> None:
    """As `check_directory`, for a directory that need not be there. Raises DataDirectoryError, OSError."""
    try:
        fd = open_directory(path)
    except FileNotFoundError:
        return
    try:
        check_directory(fd, path)
    finally:
        os.close(fd)


def open_file(directory_fd: int, path: Path) -> int:
    """A descriptor to read and write the file of that name in the directory, created if it is not there.

    Raises DataDirectoryError if it is no regular file, has another name too, or others may write to it; OSError.
    """
    return open_existing(directory_fd, path, os.O_RDWR | os.O_CREAT)


def open_existing(directory_fd: int, path: Path, flags: int) -> int:
    """As `open_file`, in the way that `flags` say. Raises FileNotFoundError if it is not there."""
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path.name, flags, 0o600, dir_fd=directory_fd)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise _no_file(path) from None
    try:
        _check_file(os.fstat(fd), path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_file(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _no_file(path)
    if status.st_nlink != 1:
        raise DataDirectoryError(
            f"{path}: has {status.st_nlink - 1} more name(s) (hard links), and what is written here changes the file "
            "under all of them; put a copy in its place"
        )
    _check_writers(status, path)


def _no_file(path: Path) -> DataDirectoryError:
    return DataDirectoryError(f"{path}: is no regular file (a symbolic link, a device); put the file itself there")


def _check_writers(status: os.stat_result, path: Path) -> None:
    if status.st_uid not in (os.geteuid(), _ROOT):
        raise DataDirectoryError(
            f"{path}: belongs to user {status.st_uid}, this process runs as {os.geteuid()}; "
            f"chown -R {os.geteuid()} {path}, or run as that user"
        )
    if status.st_mode & stat.S_IWOTH:
        raise DataDirectoryError(f"{path}: everybody may write to it; chmod o-w {path}")
