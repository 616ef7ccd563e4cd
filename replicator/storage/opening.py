"""Opens a data directory, or says in one line why not: in use, of another cluster or node, newer, or damaged."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import lmdb

from replicator.model.errors import DataDirectoryError
from replicator.model.ids import ClusterId, NodeId
from replicator.model.members import DIRECTORY_ID_BYTES
from replicator.storage import directory
from replicator.storage.env import (
    DATA_FILE,
    MAP_BYTES_INITIAL,
    READER_TABLE_FILE,
    READERS_MAX,
    Environment,
    OpenData,
    page_bytes,
    used_bytes,
)
from replicator.storage.gate import ReaderGate
from replicator.storage.layout import (
    DATABASE_COUNT,
    DIRECTORY_ID_KEY,
    FORMAT_VERSION,
    JOINING_KEY,
    Databases,
    Transaction,
)

READER_TABLE_BYTES: Final = 32 << 10
ENGINE: Final = "lmdb-0.9"  # 0.9 and 1.0 cannot read each other's files


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose data it is. Noted when the directory is new, compared ever after.

    new_directory_id: makes the id of a directory that has none: a new one, or one of an older release.
    joining: noted too, if the directory is new, or was started without it and has heard of nobody.
    """

    cluster_id: ClusterId
    node_id: NodeId
    new_directory_id: Callable[[], bytes]
    joining: bool = False


def open_environment(path: Path, size_max_bytes: int, identity: Identity) -> Environment:
    """The environment of `path`, created if it is new. Raises DataDirectoryError."""
    directory.make_directory(path)
    try:
        lock = directory.DirectoryLock.acquire(path)
    except OSError as error:
        raise DataDirectoryError(f"{path}: cannot be locked ({error.strerror}); check its permissions") from error
    try:
        open_anew = partial(_open_data, path, size_max_bytes, identity)
        data = open_anew()
        return Environment(
            path=path,
            gate=ReaderGate(),
            _data=data,
            _open_anew=open_anew,
            _lock=lock,
            _map_bytes=data.map_bytes,
            _size_max_bytes=size_max_bytes,
        )
    except OSError as error:
        lock.release()
        raise DataDirectoryError(f"{path}: cannot be used ({error.strerror}); check space and permissions") from error
    except BaseException:
        lock.release()
        raise


def _open_data(path: Path, size_max_bytes: int, identity: Identity) -> OpenData:
    """Under the directory's lock."""
    # LMDB maps this file and would die of SIGBUS if a page of it found no block. Only before lmdb opens it: closing any
    # descriptor of it later would drop LMDB's own record locks.
    reader_table_fd = os.open(path / READER_TABLE_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        directory.reserve(reader_table_fd, READER_TABLE_BYTES)
    finally:
        os.close(reader_table_fd)

    data_fd = os.open(path / DATA_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    env: lmdb.Environment | None = None
    try:
        file_bytes = os.fstat(data_fd).st_size
        map_bytes = min(max(file_bytes, MAP_BYTES_INITIAL), size_max_bytes)
        env = _open_lmdb(path, map_bytes)
        map_bytes = max(map_bytes, int(env.info()["map_size"]))  # lmdb never maps less than is used
        _refuse_truncated(path, env, data_fd)
        directory.reserve(data_fd, map_bytes)
        databases = _open_databases(path, env, identity)
        os.fsync(data_fd)
        directory.sync_directory(path)
    except BaseException:
        if env is not None:
            env.close()
        os.close(data_fd)
        raise
    return OpenData(env, databases, data_fd, map_bytes)


def _open_lmdb(path: Path, map_bytes: int) -> lmdb.Environment:
    try:
        env = lmdb.open(
            str(path), map_size=map_bytes, subdir=True, max_readers=READERS_MAX, max_dbs=DATABASE_COUNT, mode=0o600
        )
    except lmdb.Error as error:
        raise DataDirectoryError(damaged(path, error.reason or str(error))) from error
    engine = "lmdb-{}.{}".format(*env.lib_version()[:2])
    if engine != ENGINE:
        env.close()
        raise DataDirectoryError(
            f"{path}: written by engine {engine}, this release reads {ENGINE}; use the release that wrote it"
        )
    return env


def _refuse_truncated(path: Path, env: lmdb.Environment, data_fd: int) -> None:
    """Reading a page beyond the end of the file would be a SIGBUS, not an error."""
    held_bytes, needed_bytes = os.fstat(data_fd).st_size, used_bytes(env)
    if held_bytes < needed_bytes:
        problem = f"{DATA_FILE} has {held_bytes} of {needed_bytes} bytes"
        raise DataDirectoryError(damaged(path, problem))


def damaged(path: Path, problem: str) -> str:
    """The one line for a directory whose content cannot be trusted."""
    return f"{path}: damaged or not written by replicator ({problem}); move it away only as docs/operating.md says"


def _open_databases(path: Path, env: lmdb.Environment, identity: Identity) -> Databases:
    try:
        with env.begin(write=True) as txn:
            is_new = txn.stat()["entries"] == 0
            databases = Databases.open(env, txn, create=is_new)
            if is_new:
                _note_identity(txn, databases, identity)
            else:
                _check_identity(path, txn, databases, identity)
            if identity.joining and txn.stat(db=databases.hard_state)["entries"] == 0:  # it has promised nothing yet
                txn.put(JOINING_KEY, b"1", db=databases.meta)
            if txn.get(DIRECTORY_ID_KEY, db=databases.meta) is None:
                txn.put(DIRECTORY_ID_KEY, identity.new_directory_id(), db=databases.meta)
            _check_directory_id(path, txn, databases)
    except lmdb.Error as error:
        raise DataDirectoryError(damaged(path, str(error))) from error
    assert page_bytes(env) > 0
    return databases


def _note_identity(txn: Transaction, databases: Databases, identity: Identity) -> None:
    for name, value in (
        (b"format_version", str(FORMAT_VERSION)),
        (b"engine", ENGINE),
        (b"cluster_id", identity.cluster_id),
        (b"node_id", identity.node_id),
    ):
        txn.put(name, value.encode(), db=databases.meta)


def _check_directory_id(path: Path, txn: Transaction, databases: Databases) -> None:
    held_bytes = len(txn.get(DIRECTORY_ID_KEY, db=databases.meta) or b"")
    if held_bytes != DIRECTORY_ID_BYTES:
        raise DataDirectoryError(damaged(path, f"a directory_id of {held_bytes} bytes"))


def _check_identity(path: Path, txn: Transaction, databases: Databases, identity: Identity) -> None:
    def noted(name: bytes) -> str:
        value = txn.get(name, db=databases.meta)
        if value is None:
            raise DataDirectoryError(damaged(path, f"no {name.decode()} in it"))
        return value.decode("utf-8", "replace")

    format_version = noted(b"format_version")
    if format_version != str(FORMAT_VERSION):
        raise DataDirectoryError(
            f"{path}: has format {format_version}, this release reads {FORMAT_VERSION}; use the release that wrote it"
        )
    cluster_id, node_id = noted(b"cluster_id"), noted(b"node_id")
    if cluster_id != identity.cluster_id:
        raise DataDirectoryError(
            f"{path}: of cluster {cluster_id}, this node of {identity.cluster_id}; correct cluster.id or node.data_dir"
        )
    if node_id != identity.node_id:
        raise DataDirectoryError(
            f"{path}: of node {node_id}, this node is {identity.node_id}; correct node.id or node.data_dir"
        )
