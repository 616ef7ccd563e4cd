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

from replicator.model.errors import DataDirectoryError, StorageFailed
from replicator.model.full_disk import FULL_ERRNOS
from replicator.model.incarnation import Incarnation
from replicator.storage.data_directory import locking as directory
from replicator.storage.failures import DiskFull, SnapshotRefused, failure_of
from replicator.storage.gate import ReaderGate
from replicator.storage.layout import Databases, Transaction

MAP_BYTES_INITIAL: Final = 4 << 20
MAP_STEP_BYTES_MAX: Final = 1 << 30  # the map doubles, but by no more than this
MAP_STEP_BYTES_MIN: Final = 1 << 20  # on an almost full disk, steps shrink down to this
READERS_MAX: Final = 256
DATA_FILE: Final = "data.mdb"
READER_TABLE_FILE: Final = "lock.mdb"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OpenData:
    """The data file, open: what `Environment` lets go of and gets anew when a snapshot is installed."""

    env: lmdb.Environment
    databases: Databases
    data_fd: int
    map_bytes: int

    def close(self) -> None:
        self.env.close()
        os.close(self.data_fd)


class ReadTransaction:
    """`with environment.read() as txn`. Errors of lmdb leave it as StorageFailed or CorruptData."""

    __slots__ = ("_enter", "_environment", "_leave", "_txn")

    def __init__(self, environment: "Environment", enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._environment, self._enter, self._leave = environment, enter, leave
        self._txn: Transaction | None = None

    def __enter__(self) -> Transaction:
        self._enter()
        try:  # only in here is it certain which data are open
            self._txn = self._environment.opened().env.begin()
        except lmdb.Error as error:
            self._leave()
            raise failure_of(error, "beginning a read") from error
        except BaseException:
            self._leave()
            raise
        return self._txn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._txn is not None
        self._txn.abort()
        self._leave()
        if isinstance(error, lmdb.Error):
            raise failure_of(error, "reading") from error


@dataclass(slots=True)
class Environment:
    """One open environment. Reads from any thread; `write` and `install` from one thread at a time.

    incarnation: of this run, durable already. size_max_bytes: beyond it the data file does not grow.
    """

    path: Path
    incarnation: Incarnation
    size_max_bytes: int
    gate: ReaderGate
    _data: OpenData | None
    _open_prepared: Callable[[Path], OpenData]
    _lock: directory.DirectoryLock
    _map_bytes: int

    def opened(self) -> OpenData:
        """The data as they are open now; may change unless the gate is entered. Raises StorageFailed if closed."""
        if self._data is None:
            raise StorageFailed(f"{self.path}: is closed")
        return self._data

    def read(self) -> ReadTransaction:
        """A consistent read that waits for nothing inside: the only kind for the loop's thread.

        Neither long reads nor a resize or an install hold it up, but for the moment in which the map is replaced.
        """
        return ReadTransaction(self, self.gate.enter, self.gate.leave)

    def long_read(self) -> ReadTransaction:
        """A consistent read on another thread than the loop's. It waits for a resize or an install, and these for it.

        So a read over the whole store looks at `gate.exclusive_wanted`, and steps out.
        """
        return ReadTransaction(self, self.gate.enter_long, self.gate.leave_long)

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Runs `work` in one write transaction and commits it durably.

        work: may run several times, each time from the same state, so it must keep nothing from a run that raised.
        Raises DiskFull (nothing was changed) or StorageFailed.
        """
        data = self.opened()
        while True:
            try:
                return _attempt(data.env, work)
            except lmdb.MapFullError:
                if data.env.reader_check() == 0:  # else pages that a killed reader held may do
                    self._grow(data)
            except lmdb.Error as error:
                failure = failure_of(error, "committing")
                if isinstance(failure, DiskFull) and _is_dead(data.env):
                    failure = StorageFailed(f"{failure}, at the page that says which state is the newest: start again")
                raise failure from error

    def install(self, prepared_dir: Path) -> None:
        """Puts the data file in `prepared_dir` (durable already, same file system) in the place of the own one.

        It is opened where it is, its files are renamed, and from then on it is what is read: reads go on all the time.
        Killed at any point, the directory holds the old data or the new. Raises SnapshotRefused or DiskFull: nothing
        was changed; StorageFailed: the old data are still read, but the directory may hold the new ones.
        """
        if not self.is_in_place():
            raise StorageFailed(f"{self.path}: another directory is there than the one that is open")
        try:
            new = self._open_prepared(prepared_dir)
        except DataDirectoryError as error:
            raise SnapshotRefused(str(error)) from error
        except OSError as error:
            raise failure_of(error, f"opening {prepared_dir}") from error
        try:
            # First the reader table: another process may hold the old one, and its newest transaction is an old one.
            for name in (READER_TABLE_FILE, DATA_FILE):
                (prepared_dir / name).replace(self.path / name)
            directory.sync_directory(self.path)
            old = self.opened()
            with self.gate.exclusive():
                self._data, self._map_bytes = new, new.map_bytes
        except BaseException as error:
            new.close()
            if isinstance(error, OSError):
                raise StorageFailed(f"installing {prepared_dir}: {error}") from error
            raise
        old.close()  # no reader holds it any more

    @property
    def is_open(self) -> bool:
        """Until `close`."""
        return self._data is not None

    def is_in_place(self) -> bool:
        """Whether `path` still leads to the directory that is open."""
        return self._lock.is_in_place()

    def used_bytes(self) -> int:
        """Bytes of pages in use or free for reuse; the file itself is longer."""
        self.gate.enter()
        try:
            return 0 if self._data is None else used_bytes(self._data.env)
        finally:
            self.gate.leave()

    def close(self) -> None:
        """Waits for readers, then lets go of file and directory. Closing twice is fine."""
        with self.gate.exclusive():
            data, self._data = self._data, None
        if data is not None:
            data.close()
        self._lock.release()

    def _grow(self, data: OpenData) -> None:
        """Doubles the map, or adds what the disk still has; raises DiskFull if that is nothing."""
        step_bytes = min(self._map_bytes, MAP_STEP_BYTES_MAX)
        while True:
            target_bytes = min(self._map_bytes + step_bytes, self.size_max_bytes)
            if target_bytes <= self._map_bytes:
                raise DiskFull(f"the data has reached its configured size of {self.size_max_bytes} bytes")
            try:
                directory.reserve(data.data_fd, target_bytes, from_bytes=self._map_bytes)
                break
            except OSError as error:
                if error.errno not in FULL_ERRNOS or step_bytes <= MAP_STEP_BYTES_MIN:
                    raise failure_of(error, f"growing the data file to {target_bytes} bytes") from error
                step_bytes = max(step_bytes // 2, MAP_STEP_BYTES_MIN)
        with self.gate.exclusive():
            try:
                data.env.set_mapsize(target_bytes)
            except lmdb.Error as error:
                raise failure_of(error, f"growing the map to {target_bytes} bytes") from error
        self._map_bytes = target_bytes


def _is_dead(env: lmdb.Environment) -> bool:
    """LMDB trusts no environment any more whose meta page it could not write."""
    try:
        env.begin().abort()
    except lmdb.PanicError:
        return True
    return False


def _attempt(env: lmdb.Environment, work: Callable[[Transaction], T]) -> T:
    txn = env.begin(write=True)
    try:
        result = work(txn)
    except BaseException:
        txn.abort()
        raise
    txn.commit()
    return result


def used_bytes(env: lmdb.Environment) -> int:
    """What the newest commit says is used, without opening a transaction."""
    return int(env.info()["last_pgno"] + 1) * page_bytes(env)


def page_bytes(env: lmdb.Environment) -> int:
    return int(env.stat()["psize"])
