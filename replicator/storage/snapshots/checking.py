"""Turns a received snapshot file into a node's data file, or says what is wrong with it.

Blocking; for a process of its own. The file is not trusted: lmdb follows what it finds in a file (CVE-2019-16224 to
16228), so every page of a private copy is verified by code that never hands it to lmdb, before lmdb opens it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb

from replicator.model.errors import CorruptData
from replicator.model.ids import ClusterId, NodeId
from replicator.model.log import HardState, SnapshotManifest
from replicator.storage.data_directory import locking as directory
from replicator.storage.env import DATA_FILE, used_bytes
from replicator.storage.failures import SnapshotRefused, is_of_the_disk
from replicator.storage.layout import (
    FORMAT_VERSION,
    GROUP_ID,
    NODE_ID_KEY,
    OWN_KEYS,
    Database,
    Databases,
    Transaction,
)
from replicator.storage.log.soundness import page_problems
from replicator.storage.opening import ENGINE
from replicator.storage.snapshots.files import (
    PART_SUFFIX,
    Content,
    digest_held,
    file_digest,
    opened_file,
    read_content,
    remove_parts,
    snapshot_id_of,
)
from replicator.storage.state.records import unpack_revision

_SPARE_BYTES: Final = 1 << 20  # for writing the node's own records


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is asked for. hard_state: the receiver's."""

    file: Path
    manifest: SnapshotManifest
    cluster_id: ClusterId
    node_id: NodeId
    hard_state: HardState
    prepared_dir: Path


def prepare(asked: Preparation) -> None:
    """Leaves the data file in `prepared_dir`. Raises SnapshotRefused, OSError, lmdb.Error; then leaves none."""
    directory.make_directory(asked.prepared_dir)
    _clear(asked.prepared_dir)
    try:
        _check_manifest(asked)
        copy = asked.prepared_dir / f"checked{PART_SUFFIX}"
        _copy_checked(asked, copy)
        _verify_pages(copy)
        _check_and_own(asked, copy)
        with copy.open("rb+") as file:
            os.fsync(file.fileno())
        copy.replace(asked.prepared_dir / DATA_FILE)
        directory.sync_directory(asked.prepared_dir)
    except BaseException:
        _clear(asked.prepared_dir)
        raise


def _clear(prepared_dir: Path) -> None:
    remove_parts(prepared_dir)
    (prepared_dir / DATA_FILE).unlink(missing_ok=True)


def _check_manifest(asked: Preparation) -> None:
    manifest = asked.manifest
    _same("cluster id in the manifest", manifest.cluster_id, asked.cluster_id)
    _same("snapshot id", manifest.snapshot_id, snapshot_id_of(manifest.index, manifest.digest))
    if manifest.size_bytes < 1:
        raise SnapshotRefused(f"size in bytes: {manifest.size_bytes}")
    if manifest.term > asked.hard_state.term:
        raise SnapshotRefused(f"term {manifest.term} is ahead of this node's {asked.hard_state.term}")


def _copy_checked(asked: Preparation, copy: Path) -> None:
    size_bytes = asked.manifest.size_bytes
    with asked.file.open("rb") as source, copy.open("xb") as target:
        _same("size in bytes", os.fstat(source.fileno()).st_size, size_bytes)
        directory.reserve(target.fileno(), size_bytes)
        digest = file_digest(source, copy_to=target, size_max_bytes=size_bytes)
    _same("digest", digest.hex(), asked.manifest.digest.hex())


def _verify_pages(copy: Path) -> None:
    problems = page_problems(copy)
    if problems:
        raise SnapshotRefused(f"not a sound data file: {problems}")


def _check_and_own(asked: Preparation, copy: Path) -> None:
    map_bytes = copy.stat().st_size + _SPARE_BYTES
    with copy.open("rb+") as file:
        directory.reserve(file.fileno(), map_bytes)
    try:
        with opened_file(copy, map_bytes) as env, env.begin(write=True) as txn:
            if used_bytes(env) > asked.manifest.size_bytes:  # sound to the verifier, if what is missing is free
                raise SnapshotRefused(f"{used_bytes(env)} bytes in use, of {asked.manifest.size_bytes}")
            _same("engine", "lmdb-{}.{}".format(*env.lib_version()[:2]), ENGINE)
            databases = _open_databases(env, txn)
            _check_content(txn, databases, asked)
            txn.put(NODE_ID_KEY, asked.node_id.encode(), db=databases.meta)
    except (lmdb.Error, CorruptData) as error:
        if isinstance(error, lmdb.Error) and is_of_the_disk(error):  # of this node: another snapshot would not help
            raise
        raise SnapshotRefused(f"not a sound data file: {error}") from error


def _open_databases(env: lmdb.Environment, txn: Transaction) -> Databases:
    """Only the known ones, and none with an order of its own."""
    with txn.cursor() as cursor:
        names = sorted(name.decode("utf-8", "replace") for name in cursor.iternext(keys=True, values=False))
    _same("names of databases", names, sorted(Databases.__slots__))
    databases = Databases.open(env, txn, create=False)
    for name in Databases.__slots__:
        flags = getattr(databases, name).flags(txn)
        found = sorted(flag for flag, is_set in flags.items() if is_set)
        _same(f"flags of database {name}", found, [])
    return databases


def _check_content(txn: Transaction, databases: Databases, asked: Preparation) -> None:
    for name, expected in (
        (b"format_version", str(FORMAT_VERSION)),
        (b"engine", ENGINE),
        (b"group_id", str(GROUP_ID)),
        (b"cluster_id", asked.cluster_id),
    ):
        _same(name.decode(), (txn.get(name, db=databases.meta) or b"").decode("utf-8", "replace"), expected)
    for own in OWN_KEYS:
        _same(f"{own.decode()} of a node", txn.get(own, db=databases.meta), None)
    content, manifest = read_content(txn, databases), asked.manifest
    _same("applied index", content.header.applied_index, manifest.index)
    _same("term of the applied entry", content.head.term, manifest.term)
    _same("rolling hash", content.header.rolling_hash.hex(), manifest.rolling_hash.hex())
    noted = digest_held(txn, databases, manifest.index) or b""
    _same("rolling hash noted for the index", noted.hex(), manifest.rolling_hash.hex())
    _check_amounts(txn, databases, content)


def _check_amounts(txn: Transaction, databases: Databases, content: Content) -> None:
    def amount(database: Database) -> int:
        return int(txn.stat(database)["entries"])

    _same("number of log entries", amount(databases.applied), 1)
    _same("number of digests", amount(databases.digests), 1)
    _same("number of incarnations", amount(databases.incarnations), 0)
    _same("number of sessions", amount(databases.sessions), content.header.session_count)
    _same("number of idle marks", amount(databases.idle), content.header.session_count)
    with txn.cursor(db=databases.changes) as cursor:
        newest = unpack_revision(cursor.key())[0] if cursor.last() else 0
    _same("newest revision", newest, content.header.revision)


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise SnapshotRefused(f"{what}: {found!r}, expected {expected!r}")
