"""Sole owner of the LMDB environment: opens and checks it, grows it, hands out transactions.

The file is as long as the map, with its blocks reserved (`directory.reserve`), and grows with it. So a full disk shows
when the map grows, as ENOSPC and before anything is written, not in the middle of a commit: there LMDB 0.9 reports a
short write as EIO, which cannot be told from a broken disk (tests/contract/test_lmdb_contract.py).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar

import lmdb

from replicator.model.errors import StorageFailed
from replicator.storage import directory
from replicator.storage.failures import FULL_ERRNOS, DiskFull, failure_of
from replicator.storage.gate import ReaderGate
from replicator.storage.layout import Databases, Transaction

MAP_BYTES_INITIAL: Final = 16 << 20
MAP_STEP_BYTES_MAX: Final = 1 << 30  # the map doubles, but by no more than this
MAP_STEP_BYTES_MIN: Final = 1 << 20  # on an almost full disk, steps shrink down to this
READERS_MAX: Final = 256

T = TypeVar("T")


class ReadTransaction:
    """A short read: `with environment.read() as txn`. Errors of lmdb leave it as StorageFailed or CorruptData."""

    __slots__ = ("_env", "_gate", "_txn")

    def __init__(self, env: lmdb.Environment, gate: ReaderGate) -> None:
        self._env = env
        self._gate = gate
        self._txn: Transaction | None = None

    def __enter__(self) -> Transaction:
        self._gate.enter()
        try:
            self._txn = self._env.begin()
        except lmdb.Error as error:
            self._gate.leave()
            raise failure_of(error, "beginning a read") from error
        return self._txn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._txn is not None
        self._txn.abort()
        self._gate.leave()
        if isinstance(error, lmdb.Error):
            raise failure_of(error, "reading") from error


@dataclass(slots=True)
class Environment:
    """One open environment. Reads from any thread; `write` from one thread at a time."""

    path: Path
    databases: Databases
    gate: ReaderGate
    _env: lmdb.Environment
    _lock: directory.DirectoryLock
    _data_fd: int
    _map_bytes: int
    _size_max_bytes: int
    _is_open: bool = True

    def read(self) -> ReadTransaction:
        """A consistent read, to be kept short: a resize waits for it."""
        if not self._is_open:
            raise StorageFailed(f"{self.path}: is closed")
        return ReadTransaction(self._env, self.gate)

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Runs `work` in one write transaction and commits it durably.

        work: may run several times, each time from the same state, so it must keep nothing from a run that raised.
        Raises DiskFull (nothing was changed) or StorageFailed.
        """
        if not self._is_open:
            raise StorageFailed(f"{self.path}: is closed")
        while True:
            try:
                return self._attempt(work)
            except lmdb.MapFullError:
                self._grow()
            except lmdb.Error as error:
                raise failure_of(error, "committing") from error

    def used_bytes(self) -> int:
        """Bytes of pages in use or free for reuse; the file itself is longer."""
        self.gate.enter()
        try:
            return used_bytes(self._env) if self._is_open else 0
        finally:
            self.gate.leave()

    def close(self) -> None:
        """Waits for readers, then lets go of file and directory. Closing twice is fine."""
        if not self._is_open:
            return
        with self.gate.exclusive():
            self._is_open = False
            self._env.close()
        os.close(self._data_fd)
        self._lock.release()

    def _attempt(self, work: Callable[[Transaction], T]) -> T:
        txn = self._env.begin(write=True)
        try:
            result = work(txn)
        except BaseException:
            txn.abort()
            raise
        txn.commit()
        return result

    def _grow(self) -> None:
        """Doubles the map, or adds what the disk still has; raises DiskFull if that is nothing."""
        step_bytes = min(self._map_bytes, MAP_STEP_BYTES_MAX)
        while True:
            target_bytes = min(self._map_bytes + step_bytes, self._size_max_bytes)
            if target_bytes <= self._map_bytes:
                raise DiskFull(f"the data has reached its configured size of {self._size_max_bytes} bytes")
            try:
                directory.reserve(self._data_fd, target_bytes, from_bytes=self._map_bytes)
                break
            except OSError as error:
                if error.errno not in FULL_ERRNOS or step_bytes <= MAP_STEP_BYTES_MIN:
                    raise failure_of(error, f"growing the data file to {target_bytes} bytes") from error
                step_bytes = max(step_bytes // 2, MAP_STEP_BYTES_MIN)
        with self.gate.exclusive():
            try:
                self._env.set_mapsize(target_bytes)
            except lmdb.Error as error:
                raise failure_of(error, f"growing the map to {target_bytes} bytes") from error
        self._map_bytes = target_bytes


def used_bytes(env: lmdb.Environment) -> int:
    """What the newest commit says is used, without opening a transaction."""
    return int(env.info()["last_pgno"] + 1) * page_bytes(env)


def page_bytes(env: lmdb.Environment) -> int:
    return int(env.stat()["psize"])
