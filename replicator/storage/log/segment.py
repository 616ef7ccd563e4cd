"""One file of the log: blocks reserved before it is written, and every write durable when it returns.

The file is opened with O_DSYNC, so that writing and syncing are one call: a thread that gives up the interpreter's lock
twice waits twice to get it back. A failed write is never repeated (failures.py says why).
"""

import os
from pathlib import Path
from typing import Final

from replicator.model.errors import CorruptData, StorageFailed
from replicator.model.full_disk import FULL_ERRNOS
from replicator.storage.data_directory import locking as directory
from replicator.storage.data_directory import trust
from replicator.storage.failures import failure_of
from replicator.storage.log.turn_format import SEGMENT_HEAD_BYTES, SegmentHead

SEGMENT_SUFFIX: Final = ".segment"
PART_SUFFIX: Final = ".part"
SEGMENT_BYTES_MIN: Final = 256 << 10  # of the first one; each is twice as long as the one before
SEGMENT_BYTES_MAX: Final = 64 << 20
STEP_BYTES: Final = 64 << 10  # what is reserved is a multiple of this


class Segment:
    """One file, open. end: where the next turn goes. is_writable: False after any failure, and if only to be read."""

    def __init__(self, path: Path, fd: int, head: SegmentHead, size_bytes: int) -> None:
        self.path, self.head, self.size_bytes = path, head, size_bytes
        self.end = SEGMENT_HEAD_BYTES
        self._fd = fd

    @classmethod
    def create(cls, folder: Path, head: SegmentHead, size_bytes: int, *, size_min_bytes: int) -> "Segment":
        """A new, durable file of about `size_bytes`; less if the disk has no more, but `size_min_bytes` at least.

        Raises DiskFull: nothing was changed; StorageFailed.
        """
        path, part = folder / segment_name(head.number), folder / (segment_name(head.number) + PART_SUFFIX)
        try:
            part.unlink(missing_ok=True)
            fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_DSYNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise failure_of(error, f"creating {part}") from error
        try:
            size_bytes = _reserve(fd, size_bytes, size_min_bytes)
            _write(fd, head.pack(), 0)
            os.fsync(fd)
            part.rename(path)
            directory.sync_directory(folder)
        except BaseException as error:
            os.close(fd)
            part.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise failure_of(error, f"creating {path}") from error
            raise
        return cls(path, fd, head, size_bytes)

    @classmethod
    def open(cls, folder_fd: int, path: Path, *, writable: bool) -> tuple["Segment", bytes]:
        """The file and all that is in it. Raises CorruptData, DataDirectoryError, OSError."""
        fd = trust.open_existing(folder_fd, path, os.O_RDWR | os.O_DSYNC if writable else os.O_RDONLY)
        try:
            size_bytes = os.fstat(fd).st_size
            data = _read(fd, size_bytes, 0)
            try:
                head = SegmentHead.unpack(data)
            except CorruptData as damage:
                raise CorruptData(f"{path}: {damage}") from None
            return cls(path, fd, head, size_bytes), data
        except BaseException:
            os.close(fd)
            raise

    @property
    def number(self) -> int:
        return self.head.number

    def has_room(self, size_bytes: int) -> bool:
        return self.end + size_bytes <= self.size_bytes

    def append(self, turn: bytes) -> None:
        """Durable when it returns. Raises StorageFailed; DiskFull: what was written counts for nothing.

        Blocks are reserved, and yet a file system that copies on write may find no room for what is written to them.
        """
        assert self.has_room(len(turn))
        try:
            _write(self._fd, turn, self.end)
        except OSError as error:
            raise failure_of(error, f"committing: writing to {self.path}") from error
        self.end += len(turn)

    def blank(self, end: int) -> None:
        """Zeros from `self.end` up to `end`, durable: what a torn write has left is never taken for a turn again."""
        for at in range(self.end, end, STEP_BYTES):
            _write(self._fd, bytes(min(STEP_BYTES, end - at)), at)

    def read(self, at: int, size_bytes: int) -> bytes:
        """Raises StorageFailed; CorruptData if the file is shorter."""
        try:
            return _read(self._fd, size_bytes, at)
        except OSError as error:
            raise StorageFailed(f"reading {self.path}: {error}") from error

    def close(self) -> None:
        os.close(self._fd)


def segment_name(number: int) -> str:
    return f"{number:012d}{SEGMENT_SUFFIX}"


def _reserve(fd: int, size_bytes: int, size_min_bytes: int) -> int:
    while True:
        try:
            directory.reserve(fd, size_bytes)
        except OSError as error:
            if error.errno not in FULL_ERRNOS or size_bytes <= size_min_bytes:
                raise
            size_bytes = max(size_bytes // 2, size_min_bytes)
        else:
            return size_bytes


def _write(fd: int, data: bytes, at: int) -> None:
    """All of it: after a short write, the next one says what is wrong."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, at)
        if not written:
            raise StorageFailed(f"committing: the last {len(rest)} of {len(data)} bytes were not written")
        rest, at = rest[written:], at + written


def _read(fd: int, size_bytes: int, at: int) -> bytes:
    data = os.pread(fd, size_bytes, at)
    if len(data) != size_bytes:
        raise CorruptData(f"log: {len(data)} of {size_bytes} bytes at {at}")
    return data
