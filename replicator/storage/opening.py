"""Opens a data directory, or says in one line why not: in use, of another cluster or node, superseded, damaged."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb

from replicator.model.errors import CorruptData, DataDirectoryError
from replicator.model.ids import ClusterId, NodeId
from replicator.model.incarnation import RUN_ID_BYTES, Incarnation
from replicator.model.log import HardState
from replicator.model.members import DIRECTORY_ID_BYTES
from replicator.storage.data_directory import locking as directory
from replicator.storage.data_directory import runs as incarnations
from replicator.storage.data_directory import trust
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
from replicator.storage.failures import DiskFull
from replicator.storage.gate import ReaderGate
from replicator.storage.layout import (
    DATABASE_COUNT,
    DIRECTORY_ID_KEY,
    FORMAT_VERSION,
    GROUP_ID,
    JOINING_KEY,
    LOG_ID_KEY,
    SUPERSEDED_KEY,
    Database,
    Databases,
    Transaction,
)
from replicator.storage.log.raft_log import LOG_DIR, RaftLog, new_log_id
from replicator.storage.log.turn_format import INITIAL_HARD_STATE, LOG_ID_BYTES
from replicator.storage.snapshots.files import INCOMING_DIR, SNAPSHOTS_DIR

READER_TABLE_BYTES: Final = 32 << 10
_WHY_CHARS_MAX: Final = 300
ENGINE: Final = "lmdb-0.9"  # 0.9 and 1.0 cannot read each other's files


def random_run_id() -> bytes:
    """RUN_ID_BYTES that no other run has."""
    return os.urandom(RUN_ID_BYTES)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose data it is. Noted when the directory is new, compared ever after.

    new_directory_id: makes the id of a directory that has none: a new one, or one of an older release.
    joining: noted too, if the directory is new, or was started without it and has heard of nobody.
    new_run_id: RUN_ID_BYTES that no other run has. recovering: a directory that is superseded will do.
    """

    cluster_id: ClusterId
    node_id: NodeId
    new_directory_id: Callable[[], bytes]
    joining: bool = False
    new_run_id: Callable[[], bytes] = random_run_id
    recovering: bool = False


def open_environment(path: Path, size_max_bytes: int, identity: Identity) -> Environment:
    """The environment of `path`, created if it is new, with one more run counted. Raises DataDirectoryError."""
    path = Path(os.path.realpath(path))  # where the operator's links lead is looked up once
    directory.make_directory(path)
    try:
        lock = directory.DirectoryLock.acquire(path)
    except OSError as error:
        raise DataDirectoryError(f"{path}: cannot be locked ({error.strerror}); check its permissions") from error
    try:
        for name in (SNAPSHOTS_DIR, INCOMING_DIR, LOG_DIR):
            trust.check_if_there(path / name)
        data, number = _open_data(path, lock.fd, size_max_bytes, identity, begin_run=True)
        return Environment(
            path=path,
            incarnation=Incarnation(number, _run_id(identity)),
            size_max_bytes=size_max_bytes,
            gate=ReaderGate(),
            _data=data,
            _open_prepared=lambda prepared_dir: _open_prepared(prepared_dir, size_max_bytes, identity),
            _lock=lock,
            _map_bytes=data.map_bytes,
        )
    except OSError as error:
        lock.release()
        raise DataDirectoryError(f"{path}: cannot be used ({error.strerror}); check space and permissions") from error
    except BaseException:
        lock.release()
        raise


def _run_id(identity: Identity) -> bytes:
    run_id = identity.new_run_id()
    assert len(run_id) == RUN_ID_BYTES, f"a run id of {len(run_id)} bytes"
    return run_id


def _open_prepared(prepared_dir: Path, size_max_bytes: int, identity: Identity) -> OpenData:
    """Data that are to take the place of the open ones, from a directory within the locked one."""
    directory_fd = trust.open_directory(prepared_dir)
    try:
        trust.check_directory(directory_fd, prepared_dir)
        return _open_data(prepared_dir, directory_fd, size_max_bytes, identity, begin_run=False)[0]
    finally:
        os.close(directory_fd)


def _open_data(
    path: Path, directory_fd: int, size_max_bytes: int, identity: Identity, *, begin_run: bool
) -> tuple[OpenData, int]:
    """Under the directory's lock; the data, and the number of the run. begin_run: a new one, else the one held."""
    # LMDB maps this file and would die of SIGBUS if a page of it found no block. Only before lmdb opens it: closing any
    # descriptor of it later would drop LMDB's own record locks.
    reader_table_fd = trust.open_file(directory_fd, path / READER_TABLE_FILE)
    try:
        directory.reserve(reader_table_fd, READER_TABLE_BYTES)
    finally:
        os.close(reader_table_fd)

    data_fd = trust.open_file(directory_fd, path / DATA_FILE)
    env: lmdb.Environment | None = None
    try:
        file_bytes = os.fstat(data_fd).st_size
        map_bytes = min(max(file_bytes, MAP_BYTES_INITIAL), size_max_bytes)
        env = _open_lmdb(path, map_bytes)
        map_bytes = max(map_bytes, int(env.info()["map_size"]))  # lmdb never maps less than is used
        refuse_truncated(path, env, data_fd)
        directory.reserve(data_fd, map_bytes)
        databases, number = _open_databases(path, env, identity, begin_run=begin_run)
        os.fsync(data_fd)
        directory.sync_directory(path)
    except BaseException:
        if env is not None:
            env.close()
        os.close(data_fd)
        raise
    return OpenData(env, databases, data_fd, map_bytes), number


def _open_lmdb(path: Path, map_bytes: int) -> lmdb.Environment:
    try:
        env = lmdb.open(
            str(path), map_size=map_bytes, subdir=True, max_readers=READERS_MAX, max_dbs=DATABASE_COUNT, mode=0o600
        )
    except lmdb.Error as error:
        raise DataDirectoryError(damaged(path, error.reason or str(error))) from error
    try:
        check_engine(path, env)
    except BaseException:
        env.close()
        raise
    return env


def check_engine(path: Path, env: lmdb.Environment) -> None:
    """Raises DataDirectoryError if another LMDB wrote it."""
    engine = "lmdb-{}.{}".format(*env.lib_version()[:2])
    if engine != ENGINE:
        raise DataDirectoryError(
            f"{path}: written by engine {engine}, this release reads {ENGINE}; use the release that wrote it"
        )


def refuse_truncated(path: Path, env: lmdb.Environment, data_fd: int) -> None:
    """Reading a page beyond the end of the file would be a SIGBUS, not an error."""
    held_bytes, needed_bytes = os.fstat(data_fd).st_size, used_bytes(env)
    if held_bytes < needed_bytes:
        problem = f"{DATA_FILE} has {held_bytes} of {needed_bytes} bytes"
        raise DataDirectoryError(damaged(path, problem))


def damaged(path: Path, problem: str) -> str:
    """The one line for a directory whose content cannot be trusted."""
    return f"{path}: damaged or not written by replicator ({problem}); move it away only as docs/operating.md says"


def shortened(why: str) -> str:
    """As one printable line of bounded length: a reason may come from another node."""
    flat = " ".join(why.split())[:_WHY_CHARS_MAX]
    return "".join(char if char.isprintable() else "?" for char in flat)


def superseded(path: Path, why: str) -> str:
    """The one line for a directory of which another copy has run, or whose committed entries were replaced."""
    return (
        f"{path}: superseded by another copy or another history ({why}), so it must never act again. Its content: "
        f"`replicator export --data-dir {path}`. The node comes back with an empty directory and `serve --join`"
    )


def _open_databases(path: Path, env: lmdb.Environment, identity: Identity, *, begin_run: bool) -> tuple[Databases, int]:
    try:
        with env.begin(write=True) as txn:
            is_new = txn.stat()["entries"] == 0
            if not is_new:
                check_format(path, env, txn)
            databases = Databases.open(env, txn, create=is_new)
            if is_new:
                _note_identity(txn, databases, identity)
                _begin_log(path, txn, databases)
            else:
                check_identity(path, txn, databases, identity.cluster_id, identity.node_id)
            if txn.get(DIRECTORY_ID_KEY, db=databases.meta) is None:
                txn.put(DIRECTORY_ID_KEY, identity.new_directory_id(), db=databases.meta)
            _check_directory_id(path, txn, databases)
            number = _number_of_run(path, txn, databases, identity) if begin_run else 0
    except lmdb.MapFullError as error:  # not met in practice: a commit that adds nothing takes pages freed before
        raise DataDirectoryError(f"{path}: is full to the last page; raise storage.size_max_mib") from error
    except DiskFull as error:
        raise DataDirectoryError(f"{path}: cannot be used ({error}); check space and permissions") from error
    except (lmdb.Error, CorruptData) as error:
        raise DataDirectoryError(damaged(path, str(error))) from error
    assert page_bytes(env) > 0
    return databases, number


def _number_of_run(path: Path, txn: Transaction, databases: Databases, identity: Identity) -> int:
    """A copy that is superseded is not even counted."""
    why = txn.get(SUPERSEDED_KEY, db=databases.meta)
    if why is not None and not identity.recovering:
        raise DataDirectoryError(superseded(path, why.decode("utf-8", "replace")))
    return incarnations.count_run(txn, databases)


def _note_identity(txn: Transaction, databases: Databases, identity: Identity) -> None:
    for name, value in (
        (b"format_version", str(FORMAT_VERSION)),
        (b"engine", ENGINE),
        (b"group_id", str(GROUP_ID)),
        (b"cluster_id", identity.cluster_id),
        (b"node_id", identity.node_id),
    ):
        txn.put(name, value.encode(), db=databases.meta)


def _begin_log(path: Path, txn: Transaction, databases: Databases) -> None:
    """Durable before the data file names it, so that the log that is named is always there."""
    log_id = new_log_id()
    RaftLog.create(path, log_id, INITIAL_HARD_STATE).close()
    txn.put(LOG_ID_KEY, log_id, db=databases.meta)


def log_id_of(txn: Transaction, databases: Databases) -> bytes:
    """Of the log that belongs to these data. Raises CorruptData."""
    log_id = txn.get(LOG_ID_KEY, db=databases.meta) or b""
    if len(log_id) != LOG_ID_BYTES:
        raise CorruptData(f"a log_id of {len(log_id)} bytes")
    return log_id


def note_joining(environment: Environment, identity: Identity, state: HardState) -> None:
    """That the node joins a group: as long as its directory has promised nothing."""
    if not identity.joining or state != INITIAL_HARD_STATE:
        return
    databases = environment.opened().databases
    environment.write(lambda txn: txn.put(JOINING_KEY, b"1", db=databases.meta))


def _check_directory_id(path: Path, txn: Transaction, databases: Databases) -> None:
    held_bytes = len(txn.get(DIRECTORY_ID_KEY, db=databases.meta) or b"")
    if held_bytes != DIRECTORY_ID_BYTES:
        raise DataDirectoryError(damaged(path, f"a directory_id of {held_bytes} bytes"))


def noted(path: Path, txn: Transaction, meta: Database, name: bytes) -> str:
    """What the directory says of itself under that name. Raises DataDirectoryError if it says nothing."""
    value = txn.get(name, db=meta)
    if value is None:
        raise DataDirectoryError(damaged(path, f"no {name.decode()} in it"))
    return value.decode("utf-8", "replace")


def check_format(path: Path, env: lmdb.Environment, txn: Transaction) -> None:
    """Raises DataDirectoryError if another release wrote it; to be asked before anything that only this format has."""
    meta = env.open_db(b"meta", txn=txn, create=False)
    format_version = noted(path, txn, meta, b"format_version")
    if format_version != str(FORMAT_VERSION):
        raise DataDirectoryError(
            f"{path}: has format {format_version}, this release reads {FORMAT_VERSION}; use the release that wrote it"
        )
    group_id = noted(path, txn, meta, b"group_id")
    if group_id != str(GROUP_ID):
        raise DataDirectoryError(
            f"{path}: holds group {group_id} of its cluster, this release runs group {GROUP_ID} only; use the release "
            "that wrote it"
        )


def check_identity(path: Path, txn: Transaction, databases: Databases, cluster_id: ClusterId, node_id: NodeId) -> None:
    """Raises DataDirectoryError if it is another cluster's or node's."""
    held_cluster, held_node = (noted(path, txn, databases.meta, name) for name in (b"cluster_id", b"node_id"))
    if held_cluster != cluster_id:
        raise DataDirectoryError(
            f"{path}: of cluster {held_cluster}, this node of {cluster_id}; correct cluster.id or node.data_dir"
        )
    if held_node != node_id:
        raise DataDirectoryError(
            f"{path}: of node {held_node}, this node is {node_id}; correct node.id or node.data_dir"
        )
