"""Snapshot files on both ends, as messages: chunks read from one, chunks checked and written to another.

Plain blocking code; `FileThread` runs it beside the loop, one call after another, so that a file is never closed under
a call that uses it, even if the task that waited was cancelled.
"""

import asyncio
import contextlib
import logging
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple, Unpack

from google.protobuf.message import DecodeError

from replicator.transport.compression import Compressor, Decompressor, NotDecompressed
from replicator.transport.ports import SNAPSHOT_CHUNK_BYTES, FetchFailure, SnapshotUnavailable
from replicator.v1 import peer_pb2

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

CLOSE_S: Final = 5.0  # a disk that hangs must not hang the loop's tasks with it


class BadChunk(Exception):
    """A chunk that is not the next one, or not as it was sent. The text says how."""


class FileThread:
    """One thread for one file. On exit `close` runs last, after every call that was begun."""

    def __init__(self, name: str, close: Callable[[], None]) -> None:
        self._name = name
        self._close = close
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def __aenter__(self) -> "FileThread":
        return self

    async def __aexit__(self, *_: object) -> None:
        closing = self.begin(self._close)
        self._executor.shutdown(wait=False)
        done, _pending = await asyncio.wait((closing,), timeout=CLOSE_S)
        if not done:
            _LOG.error("%s: the disk does not answer; its thread ends when it does", self._name)
            return
        closing.result()

    def begin(self, call: Callable[[Unpack[Ts]], T], *args: *Ts) -> "asyncio.Future[T]":
        """Calls are run in the order in which they are begun. An error that nobody awaits is dropped."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, call, *args)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future


class SnapshotReader:
    """A file as messages that carry a chunk each, from `offset` to its end. compressor: None to send it as it is."""

    def __init__(self, path: Path, offset: int, compressor: Compressor | None = None) -> None:
        self._path = path
        self.offset = offset
        self._compressor = compressor
        self._fd: int | None = None

    def open(self) -> int:
        """The file's size. Raises OSError."""
        self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return os.fstat(self._fd).st_size

    def next(self) -> bytes | None:
        """A serialized LinkMessage; None at the end. Raises OSError."""
        assert self._fd is not None, "open first"
        data = os.pread(self._fd, SNAPSHOT_CHUNK_BYTES, self.offset)
        if not data:
            return None
        chunk = peer_pb2.SnapshotChunk(offset=self.offset, data=data, checksum=zlib.crc32(data))
        smaller = None if self._compressor is None else self._compressor.compressed(data)
        if smaller is not None:
            chunk.codec, chunk.data, chunk.size_bytes = peer_pb2.CODEC_ZSTD, smaller, len(data)
        self.offset += len(data)
        return peer_pb2.LinkMessage(chunk=chunk).SerializeToString()

    def close(self) -> None:
        """Idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class SnapshotWriter:
    """Invariant: the file's first `held_bytes` passed their checksums, and held_bytes <= size_bytes.

    Raises SnapshotUnavailable(DISK) for whatever the operating system refuses. decompressor: None to take no compressed
    chunk.
    """

    def __init__(self, target: Path, size_bytes: int, decompressor: Decompressor | None = None) -> None:
        assert size_bytes >= 0, "a size is not negative"
        self._decompressor = decompressor
        self._target = target
        self._size_bytes = size_bytes
        self._fd: int | None = None
        self.held_bytes = 0

    def is_whole(self) -> bool:
        return self.held_bytes == self._size_bytes

    def open(self) -> None:
        """Goes on behind what the file holds. One that is too long is not ours: it is emptied."""
        with self._disk():
            self._fd = os.open(self._target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.held_bytes = os.fstat(self._fd).st_size
            if self.held_bytes > self._size_bytes:
                os.ftruncate(self._fd, 0)
                self.held_bytes = 0

    def take(self, message: bytes) -> None:
        """Writes the next chunk. Raises BadChunk, and SnapshotUnavailable(WRONG_SIZE) beyond size_bytes."""
        try:
            chunk = peer_pb2.LinkMessage.FromString(message).chunk
        except DecodeError:
            raise BadChunk(f"malformed chunk of {len(message)} bytes") from None
        data = self._data_of(chunk)
        if chunk.offset != self.held_bytes or not data:
            raise BadChunk(f"chunk of {len(data)} bytes at offset {chunk.offset}, the next is {self.held_bytes}")
        if zlib.crc32(data) != chunk.checksum:
            raise BadChunk(f"checksum differs in the chunk of {len(data)} bytes at offset {chunk.offset}")
        if self.held_bytes + len(data) > self._size_bytes:
            raise SnapshotUnavailable(
                FetchFailure.WRONG_SIZE,
                f"more than the {self._size_bytes} bytes announced; what was fetched is deleted",
            )
        self._write(data)

    def _data_of(self, chunk: peer_pb2.SnapshotChunk) -> bytes:
        if chunk.codec == peer_pb2.CODEC_UNSPECIFIED:
            return chunk.data
        if self._decompressor is None:
            raise BadChunk(f"a compressed chunk at offset {chunk.offset}, which this node did not offer to take")
        try:
            return self._decompressor.decompressed(chunk.codec, chunk.data, chunk.size_bytes, SNAPSHOT_CHUNK_BYTES)
        except NotDecompressed as error:
            raise BadChunk(f"invalid compressed chunk at offset {chunk.offset}: {error}") from None

    def close(self) -> None:
        """Idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with self._disk():
                os.close(fd)

    def discard(self) -> None:
        """Deletes what was fetched."""
        with self._disk():
            self._target.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        assert self._fd is not None, "open first"
        rest = memoryview(data)
        with self._disk():
            while rest:
                written = os.pwrite(self._fd, rest, self.held_bytes)
                self.held_bytes += written
                rest = rest[written:]

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SnapshotUnavailable(FetchFailure.DISK, f"{self._target}: {error.strerror or error}") from error
