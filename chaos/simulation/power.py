"""What a power failure, or a failed sync, leaves of a data file: made on the real file, from before and after a commit.

LMDB 0.9 commits in two steps (mdb.c: mdb_txn_commit, mdb_env_write_meta): it writes new pages where neither of the last
two states has any and syncs them; then it writes the fields of one of two meta pages, through a descriptor that syncs
by itself, and the last field is the number of the transaction. So until the sync any part of the new pages may be on
the disk, and later all of them, and a part of the meta page. Opening takes the meta page with the higher number.

Covered: any sectors of any new pages without the meta page; all pages with a meta page that was cut after any byte.
Not covered: a meta page of which later bytes are on the disk and earlier ones are not. It has no checksum; LMDB relies
on drives that write a sector whole, or from its beginning. Nor is a drive covered that says it has synced and has not.
"""

import os
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, cast

from replicator.model.errors import StorageFailed
from replicator.model.log import TurnWrite
from replicator.storage.env import DATA_FILE, READER_TABLE_FILE
from replicator.storage.storage import Position, Storage

PAGE_BYTES: Final = 4096
SECTOR_BYTES: Final = 512
META_PAGES: Final = 2


def interrupted(storage: Storage, write: TurnWrite, dice: random.Random) -> Position | None:
    """Power fails while `write` is being committed. The position after it, if the disk holds it; None if it does not.

    The storage is closed.
    """
    return _torn(storage, lambda: storage.commit(write), dice)


def unsynced(storage: Storage, write: TurnWrite, dice: random.Random) -> Position | None:
    """The disk reports that it could not sync, at some point of a commit; otherwise as `interrupted`.

    Asserts what a node relies on: the failure is reported, and reported again to any later write.
    """

    def fail() -> None:
        break_disk(storage)
        for _ in range(2):
            try:
                storage.commit(write)
            except StorageFailed:
                continue
            raise AssertionError("a commit whose sync failed was called durable")

    return _torn(storage, fail, dice)


def is_synced(storage: Storage) -> bool:
    """Does LMDB sync what it commits? The one thing about the disk that is asked, not observed."""
    flags = storage._environment.opened().env.flags()
    return bool(flags["sync"] and flags["metasync"] and not flags["writemap"])


def image(storage: Storage) -> bytes:
    """All pages in use."""
    with (storage.path / DATA_FILE).open("rb") as file:
        return file.read(storage.data_bytes())


def restore(storage: Storage, pages: bytes) -> None:
    """Nothing that was written since `pages` was taken has reached the disk. The storage is closed."""
    storage.close()
    with (storage.path / DATA_FILE).open("r+b") as file:
        file.write(pages)


def lose_reader_table(storage: Storage, dice: random.Random) -> None:
    """Nobody syncs LMDB's table of readers: after a power failure it may hold anything. The storage is closed."""
    file = storage.path / READER_TABLE_FILE
    match dice.randrange(3):
        case 0:
            file.unlink()
        case 1:
            file.write_bytes(dice.randbytes(file.stat().st_size))


def break_disk(storage: Storage) -> None:
    """From now on, commits of this process fail after what they have written."""
    environment = storage._environment
    environment._data = replace(environment.opened(), env=cast("Any", _DeadDisk(environment.opened().env)))


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


def _torn(storage: Storage, commit: Callable[[], object], dice: random.Random) -> Position | None:
    before = image(storage)
    commit()
    after, position = image(storage), Storage(storage._environment).position  # anew: a failed one knows of nothing
    storage.close()
    before = before.ljust(len(after), b"\0")
    changed = [at for at in range(0, len(after), PAGE_BYTES) if _page(before, at) != _page(after, at)]
    metas = [at for at in changed if at < META_PAGES * PAGE_BYTES]
    assert len(metas) <= 1, "a commit writes one meta page"
    survived = False
    with (storage.path / DATA_FILE).open("r+b") as file:
        synced = dice.random() < 0.5  # all new pages are on the disk, and the meta page is being written
        for at in changed:
            if at in metas:
                held = _cut(_page(before, at), _page(after, at), dice) if synced else _page(before, at)
            else:
                held = _page(after, at) if synced else _scattered(_page(before, at), _page(after, at), dice)
            os.pwrite(file.fileno(), held, at)
            survived = survived or (at in metas and held == _page(after, at))
    return position if survived else None


def _page(pages: bytes, at: int) -> bytes:
    return pages[at : at + PAGE_BYTES]


def _scattered(old: bytes, new: bytes, dice: random.Random) -> bytes:
    """Any sectors of the new page over the old one: none, some or all."""
    share = dice.choice((0.0, 0.5, 1.0))
    return b"".join(
        (new if dice.random() < share else old)[at : at + SECTOR_BYTES] for at in range(0, PAGE_BYTES, SECTOR_BYTES)
    )


def _cut(old: bytes, new: bytes, dice: random.Random) -> bytes:
    """The new page up to some byte among those that differ, the old one from there; or all of it."""
    differing = [at for at in range(PAGE_BYTES) if old[at] != new[at]]
    end = dice.choice(differing) if dice.random() < 0.5 else PAGE_BYTES
    return new[:end] + old[end:]
