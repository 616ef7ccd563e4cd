"""Makes a snapshot file of a data directory that a node is writing to. Blocking; for a process of its own.

All records of one read transaction, but for those that are one node's own, are appended to a new file: so it holds no
free pages, and every record has been read once. LMDB's own compacting copy does as much, but that of 0.9.36 kills the
process once a key has so many duplicates that they have a tree of their own (tests/contract/test_lmdb_contract.py).
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
from replicator.storage.env import DATA_FILE, MAP_STEP_BYTES_MAX, READER_TABLE_FILE, READERS_MAX, used_bytes
from replicator.storage.failures import SnapshotFailed
from replicator.storage.layout import (
    DATABASE_COUNT,
    OWN_KEYS,
    Database,
    Databases,
    Header,
    Transaction,
    pack_number,
)
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

Record = tuple[bytes, bytes]

_SPARE_BYTES: Final = 4 << 20  # pages that are written and freed again while the file grows
_COPIED_BYTES_PER_COMMIT: Final = 32 << 20  # LMDB holds the pages of a transaction in memory until it commits


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
    part = target_dir / f"copy{PART_SUFFIX}"
    content = _copy_live(data_dir, part)
    with part.open("rb+") as file:
        digest = file_digest(file)
        os.fsync(file.fileno())
    index = content.header.applied_index
    manifest = SnapshotManifest(
        snapshot_id=snapshot_id_of(index, digest),
        cluster_id=content.cluster_id,
        index=index,
        term=content.head.term,
        rolling_hash=content.header.rolling_hash,
        size_bytes=part.stat().st_size,
        digest=digest,
    )
    part.replace(snapshot_file(target_dir, manifest.snapshot_id))
    directory.sync_directory(target_dir)
    return manifest


def _copy_live(data_dir: Path, copy: Path) -> Content:
    """What a snapshot holds of the newest commit. The node's map may grow meanwhile; that of this process has room."""
    before = _inodes(data_dir)
    env = lmdb.open(
        str(data_dir),
        map_size=(data_dir / DATA_FILE).stat().st_size + MAP_STEP_BYTES_MAX,
        readonly=True,
        create=False,
        max_readers=READERS_MAX,
        max_dbs=DATABASE_COUNT,
    )
    try:
        env.reader_check()
        with env.begin() as txn:
            source = Databases.open(env, txn, create=False)
            content = _content_to_copy(txn, source)
            _write_copy(txn, source, copy, map_bytes=used_bytes(env) + _SPARE_BYTES)
    finally:
        env.close()
    if _inodes(data_dir) != before:  # then the writer may not have seen this reader, and reused pages under it
        raise SnapshotFailed(f"{data_dir}: the data were replaced while they were copied")
    return content


def _content_to_copy(txn: Transaction, source: Databases) -> Content:
    if Header.load(txn, source).applied_index == 0:
        raise SnapshotFailed("nothing is applied, so there is no log entry that a snapshot could stand for")
    return read_content(txn, source)


def _write_copy(txn: Transaction, source: Databases, copy: Path, *, map_bytes: int) -> None:
    copy.touch(mode=0o600)
    with opened_file(copy, map_bytes, durable=False) as env:
        with copy.open("rb+") as file:
            directory.reserve(file.fileno(), map_bytes)  # a full disk shows here; later it would look like a broken one
        with env.begin(write=True) as writing:
            target = Databases.open(env, writing, create=True)
        for name in Databases.__slots__:
            records = _records(txn, source, name)
            while _copy_some(env, getattr(target, name), records):
                pass
        length_bytes = used_bytes(env)
    os.truncate(copy, length_bytes)


def _records(txn: Transaction, source: Databases, name: str) -> Iterator[Record]:
    """Those of one database that a snapshot holds, in order."""
    database = getattr(source, name)
    match name:
        case "incarnations":
            return
        case "applied" | "digests":
            applied = pack_number(Header.load(txn, source).applied_index)
            record = txn.get(applied, db=database)
            assert record is not None, f"{name}: nothing at the applied index"
            yield applied, record
        case _:
            with txn.cursor(db=database) as cursor:
                yield from ((key, value) for key, value in cursor if name != "meta" or key not in OWN_KEYS)


def _copy_some(env: lmdb.Environment, database: Database, records: Iterator[Record]) -> bool:
    """One transaction of them; False if none are left."""
    copied_bytes = 0
    with env.begin(write=True) as txn, txn.cursor(db=database) as cursor:
        for key, value in records:
            cursor.put(key, value, append=True)
            copied_bytes += len(key) + len(value)
            if copied_bytes >= _COPIED_BYTES_PER_COMMIT:
                return True
    return False


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
