"""Makes a snapshot file of a data directory that a node is writing to. Blocking; for a process of its own.

Twice a compacting copy: one of the node's data, in one read transaction; one of the first copy, once what belongs to
the node is taken out, so that the freed pages do not travel.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import lmdb

from replicator.model.log import SnapshotManifest
from replicator.storage.data_directory import locking as directory
from replicator.storage.env import DATA_FILE, MAP_STEP_BYTES_MAX, READER_TABLE_FILE, READERS_MAX
from replicator.storage.failures import SnapshotFailed
from replicator.storage.layout import OWN_KEYS, Databases, Header
from replicator.storage.log.raft_log import RaftLog
from replicator.storage.snapshots.files import (
    PART_SUFFIX,
    Content,
    file_digest,
    opened_file,
    read_content,
    remove_parts,
    snapshot_file,
    snapshot_id_of,
)

_SPARE_BYTES: Final = 4 << 20  # what taking out the log may write, besides a note of every freed page
_SPARE_SHARE: Final = 64


def make(data_dir: Path, target_dir: Path) -> SnapshotManifest:
    """Raises SnapshotFailed, CorruptData, OSError, lmdb.Error; leaves no half-made file, unless killed."""
    directory.make_directory(target_dir)
    with _alone_in(target_dir):
        remove_parts(target_dir)
        try:
            return _make(data_dir, target_dir)
        finally:
            remove_parts(target_dir)


def _make(data_dir: Path, target_dir: Path) -> SnapshotManifest:
    copy, final = target_dir / f"copy{PART_SUFFIX}", target_dir / f"final{PART_SUFFIX}"
    _copy_live(data_dir, copy)
    content = _strip(copy)
    with opened_file(copy, copy.stat().st_size) as env:
        _copy(env, final)
    copy.unlink()
    with final.open("rb+") as file:
        digest = file_digest(file)
        os.fsync(file.fileno())
    index = content.header.applied_index
    manifest = SnapshotManifest(
        snapshot_id=snapshot_id_of(index, digest),
        cluster_id=content.cluster_id,
        index=index,
        term=content.term,
        rolling_hash=content.header.rolling_hash,
        size_bytes=final.stat().st_size,
        digest=digest,
    )
    final.replace(snapshot_file(target_dir, manifest.snapshot_id))
    directory.sync_directory(target_dir)
    return manifest


def _copy_live(data_dir: Path, copy: Path) -> None:
    """All of the newest commit. The node's map may grow meanwhile; the one of this process has room to spare."""
    before = _inodes(data_dir)
    env = lmdb.open(
        str(data_dir),
        map_size=(data_dir / DATA_FILE).stat().st_size + MAP_STEP_BYTES_MAX,
        readonly=True,
        create=False,
        max_readers=READERS_MAX,
    )
    try:
        env.reader_check()
        _copy(env, copy)
    finally:
        env.close()
    if _inodes(data_dir) != before:  # then the writer may not have seen this reader, and reused pages under it
        raise SnapshotFailed(f"{data_dir}: the data were replaced while they were copied")


def _copy(env: lmdb.Environment, target: Path) -> None:
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        env.copyfd(fd, compact=True)
    finally:
        os.close(fd)


def _strip(copy: Path) -> Content:
    """Takes out the log but for the entry at the applied index, and all that is one node's own."""
    map_bytes = copy.stat().st_size
    map_bytes += map_bytes // _SPARE_SHARE + _SPARE_BYTES
    with copy.open("rb+") as file:
        directory.reserve(file.fileno(), map_bytes)  # a full disk shows here; later it would look like a broken one
    with opened_file(copy, map_bytes, durable=False) as env, env.begin(write=True) as txn:
        databases = Databases.open(env, txn, create=False)
        if Header.load(txn, databases).applied_index == 0:
            raise SnapshotFailed("nothing is applied yet, so there is no log entry that a snapshot could stand for")
        content = read_content(txn, databases)
        RaftLog(txn, databases).keep_only(content.header.applied_index)
        txn.drop(databases.hard_state, delete=False)
        txn.drop(databases.incarnations, delete=False)
        for own in OWN_KEYS:
            txn.delete(own, db=databases.meta)
        return content


def _inodes(data_dir: Path) -> list[int]:
    return [(data_dir / name).stat().st_ino for name in (DATA_FILE, READER_TABLE_FILE)]


@contextmanager
def _alone_in(target_dir: Path) -> Iterator[None]:
    fd = os.open(target_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise SnapshotFailed(f"{target_dir}: another snapshot is being made there") from error
    finally:
        os.close(fd)
