"""What a power failure, or a failed sync, leaves of a data directory: made on the real files, from before and after.

The log, and an installation of a snapshot: as steps.py has it, cut at any step. A turn is one write, so until it
returns any sectors of it may be on the disk; the log's own checksums find a turn that is not whole.

The state: LMDB 0.9 commits in two steps (mdb.c: mdb_txn_commit, mdb_env_write_meta): it writes new pages where neither
of the last two states has any and syncs them; then it writes the fields of one of two meta pages, through a descriptor
that syncs by itself, and the last field is the number of the transaction. So until the sync any part of the new pages
may be on the disk, and later all of them, and a part of the meta page. Opening takes the meta page with the higher
number.

Both are torn independently of each other. Not covered: a meta page of which later bytes are on the disk and earlier
ones are not. It has no checksum; LMDB relies on drives that write a sector whole, or from its beginning. Nor is a drive
covered that says it has synced and has not.
"""

import contextlib
import fcntl
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from chaos.simulation.steps import Steps, scattered
from replicator.model.errors import StorageFailed
from replicator.model.log import TurnWrite
from replicator.storage.env import DATA_FILE, READER_TABLE_FILE
from replicator.storage.failures import DiskFull
from replicator.storage.log.raft_log import LOG_DIR
from replicator.storage.log.segment import SEGMENT_SUFFIX
from replicator.storage.reading import Position
from replicator.storage.state.layers import Layer
from replicator.storage.storage import Storage

PAGE_BYTES: Final = 4096
META_PAGES: Final = 2
_SYNCED_WRITES: Final = os.O_DSYNC

Image = dict[Path, bytes]


@dataclass(frozen=True, slots=True)
class Left:
    """What the disk holds after it. turn: of the one in progress, all or nothing. position: of the state.

    step: at which the power failed, of what was written to the log.
    """

    turn: bool
    position: Position
    step: str


@dataclass(frozen=True, slots=True)
class Installed:
    """is_done: whether the new data and log are there, or the old ones; position: of the new state.

    step: at which the power failed.
    """

    is_done: bool
    position: Position
    step: str


def interrupted(storage: Storage, write: TurnWrite | None, dice: random.Random, at: int | None = None) -> Left:
    """Power fails while `write` is being committed and, perhaps, the state being flushed. The storage is closed.

    at: number of the step of the commit; None: any.
    """
    return _torn(storage, write, dice, flushes=dice.random() < 0.5, at=at)


def unsynced(storage: Storage, write: TurnWrite, dice: random.Random) -> Left:
    """The disk reports that it could not sync, at some point of a commit; otherwise as `interrupted`.

    Asserts what a node relies on: the failure is reported, and reported again to any later write.
    """
    break_disk(storage)
    return _torn(storage, write, dice, flushes=False)


def interrupted_install(storage: Storage, prepared_dir: Path, dice: random.Random, at: int | None = None) -> Installed:
    """Power fails while the data in `prepared_dir`, within the data directory, are being installed.

    at: number of the step; None: any. Raises SnapshotRefused or DiskFull: there was no installation. Else the storage
    is closed.
    """
    data_file, steps = storage.path / DATA_FILE, Steps(storage.path)
    replaced = data_file.stat().st_ino
    with steps.noted():
        storage.install(prepared_dir)
    position = storage.position
    storage.close(flushed=False)
    step = steps.cut(dice, at).step
    return Installed(data_file.stat().st_ino != replaced, position, step)


def is_synced(storage: Storage) -> bool:
    """Do LMDB and the log sync what they write? The one thing about the disk that is asked, not observed."""
    flags = storage._environment.opened().env.flags()
    return bool(flags["sync"] and flags["metasync"] and not flags["writemap"]) and all(
        fcntl.fcntl(segment._fd, fcntl.F_GETFL) & _SYNCED_WRITES == _SYNCED_WRITES for segment in storage._log._segments
    )


def image(storage: Storage) -> Image:
    """All pages in use, and the segments of the log."""
    return {storage.path / DATA_FILE: _pages(storage), **_segments(storage.path)}


def restore(storage: Storage, files: Image) -> None:
    """Nothing that was written since `files` was taken has reached the disk. The storage is closed."""
    storage.close(flushed=False)
    for path in _segments(storage.path).keys() - files.keys():
        path.unlink()
    for path, held in files.items():
        path.touch()
        with path.open("r+b") as file:
            file.write(held)


def lose_reader_table(storage: Storage, dice: random.Random) -> None:
    """Nobody syncs LMDB's table of readers: after a power failure it may hold anything. The storage is closed."""
    file = storage.path / READER_TABLE_FILE
    match dice.randrange(3):
        case 0:
            file.unlink()
        case 1:
            file.write_bytes(dice.randbytes(file.stat().st_size))


def break_disk(storage: Storage) -> None:
    """From now on, commits and flushes of this process fail after what they have written."""
    environment = storage._environment
    environment._data = replace(environment.opened(), env=cast("Any", _DeadDisk(environment.opened().env)))
    log = cast("Any", storage._log)
    write = log.write

    def written_and_not_synced(*turn: Any) -> None:
        write(*turn)
        raise StorageFailed("committing: [Errno 5] Input/output error")

    log.write = written_and_not_synced


class _DeadDisk:
    """An lmdb environment whose commits are not what they seem."""

    def __init__(self, env: Any) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def begin(self, *, write: bool = False) -> Any:
        """Reads work as before."""
        txn = self._env.begin(write=write)
        return _DeadTransaction(txn) if write else txn


class _DeadTransaction:
    def __init__(self, txn: Any) -> None:
        self._txn = txn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)

    def commit(self) -> None:
        """Raises lmdb.Error: the second commit of a transaction always fails, with a message of its own."""
        self._txn.commit()
        self._txn.commit()


def _torn(
    storage: Storage, write: TurnWrite | None, dice: random.Random, *, flushes: bool, at: int | None = None
) -> Left:
    steps, states = Steps(storage.path), [(_pages(storage), storage.position)]
    with steps.noted(), _after_each_transaction(storage, lambda: states.append((_pages(storage), storage.position))):
        if flushes:
            with contextlib.suppress(DiskFull):
                storage.flush()
        if write is not None:
            _commit(storage, write)
    states.append((_pages(storage), storage.position))
    storage.close(flushed=False)
    done = dice.randrange(len(states) - 1)
    (pages, position), (new_pages, new_position) = states[done : done + 2]
    is_flushed = _tear_pages(storage.path / DATA_FILE, pages, new_pages, dice)
    cut = steps.cut(dice, at)
    return Left(cut.is_whole and write is not None, new_position if is_flushed else position, cut.step)


@contextlib.contextmanager
def _after_each_transaction(storage: Storage, look: Callable[[], None]) -> Iterator[None]:
    """A flush may take several."""
    plain = storage._write_state

    def seen(frozen: Layer | None) -> None:
        plain(frozen)
        look()

    watched = cast("Any", storage)
    watched._write_state = seen
    try:
        yield
    finally:
        watched._write_state = plain


def _commit(storage: Storage, write: TurnWrite) -> None:
    """On a dead disk it fails, and fails again."""
    is_dead = isinstance(storage._environment.opened().env, _DeadDisk)
    for _ in range(2 if is_dead else 1):
        try:
            storage.commit(write)
        except StorageFailed:
            assert is_dead
        else:
            assert not is_dead, "a commit whose sync failed was called durable"


# The log


def _segments(data_dir: Path) -> Image:
    return {path: path.read_bytes() for path in sorted((data_dir / LOG_DIR).glob(f"*/*{SEGMENT_SUFFIX}"))}


# The state


def _pages(storage: Storage) -> bytes:
    with (storage.path / DATA_FILE).open("rb") as file:
        return file.read(storage.data_bytes())


def _tear_pages(data_file: Path, before: bytes, after: bytes, dice: random.Random) -> bool:
    """Whether what was committed is there."""
    before = before.ljust(len(after), b"\0")
    changed = [at for at in range(0, len(after), PAGE_BYTES) if _page(before, at) != _page(after, at)]
    metas = [at for at in changed if at < META_PAGES * PAGE_BYTES]
    assert len(metas) <= 1, "a commit writes one meta page"
    survived = not metas
    with data_file.open("r+b") as file:
        file.write(after)  # without what later transactions have written
        synced = dice.random() < 0.5  # all new pages are on the disk, and the meta page is being written
        for at in changed:
            if at in metas:
                held = _cut(_page(before, at), _page(after, at), dice) if synced else _page(before, at)
            else:
                held = _page(after, at) if synced else scattered(_page(before, at), _page(after, at), dice)
            os.pwrite(file.fileno(), held, at)
            survived = survived or (at in metas and held == _page(after, at))
    return survived


def _page(pages: bytes, at: int) -> bytes:
    return pages[at : at + PAGE_BYTES]


def _cut(old: bytes, new: bytes, dice: random.Random) -> bytes:
    """The new page up to some byte among those that differ, the old one from there; or all of it."""
    differing = [at for at in range(PAGE_BYTES) if old[at] != new[at]]
    end = dice.choice(differing) if dice.random() < 0.5 else PAGE_BYTES
    return new[:end] + old[end:]
