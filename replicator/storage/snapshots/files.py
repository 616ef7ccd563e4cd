"""Where snapshot files are, what they are called, and what is read of one: for the processes that make and check them.

A snapshot file is a data file without node: one digest (that of the applied index), no log but the entry at that index.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final

import lmdb

from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import Entry, HardState, SnapshotManifest
from replicator.storage.failures import SnapshotRefused
from replicator.storage.layout import DATABASE_COUNT, Databases, Header, Transaction, pack_number
from replicator.storage.state.applied_entry import load_applied

SNAPSHOTS_DIR: Final = "snapshots"  # under the data directory: made here
INCOMING_DIR: Final = "incoming"  # under the data directory: received, being checked
SNAPSHOT_SUFFIX: Final = ".snapshot"
PART_SUFFIX: Final = ".part"
DIGEST_BYTES: Final = 32
_SNAPSHOT_ID: Final = re.compile(r"[1-9][0-9]{0,19}-[0-9a-f]{16}")
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """What a file says of itself. head: the entry at the applied index."""

    cluster_id: str
    header: Header
    head: Entry


def snapshot_id_of(index: int, digest: bytes) -> str:
    """Names index and content, so equal names mean equal files."""
    return f"{index}-{digest.hex()[:16]}"


def snapshot_file(target_dir: Path, snapshot_id: str) -> Path:
    """The file of that name. Raises SnapshotRefused if it is no name: it may come from another node."""
    if not _SNAPSHOT_ID.fullmatch(snapshot_id):
        raise SnapshotRefused(f"{snapshot_id!r} names no snapshot")
    return target_dir / (snapshot_id + SNAPSHOT_SUFFIX)


def file_digest(file: BinaryIO, *, copy_to: BinaryIO | None = None, size_max_bytes: int | None = None) -> bytes:
    """Digest of all that is left of `file`, which is written to `copy_to` as it is read.

    Raises SnapshotRefused once it is longer than size_max_bytes, and then has written no more than these.
    """
    digest, size_bytes = blake2b(digest_size=DIGEST_BYTES), 0
    while chunk := file.read(_CHUNK_BYTES):
        size_bytes += len(chunk)
        if size_max_bytes is not None and size_bytes > size_max_bytes:
            raise SnapshotRefused(f"the file has more than the {size_max_bytes} bytes that its manifest says")
        digest.update(chunk)
        if copy_to is not None:
            copy_to.write(chunk)
    return digest.digest()


@contextmanager
def opened_file(file: Path, map_bytes: int, *, durable: bool = True) -> Iterator[lmdb.Environment]:
    """A data file that no one else has open, without a reader table. durable: whether a commit syncs."""
    env = lmdb.open(
        str(file),
        map_size=map_bytes,
        subdir=False,
        create=False,
        lock=False,
        max_dbs=DATABASE_COUNT,
        sync=durable,
        metasync=durable,
    )
    try:
        yield env
    finally:
        env.close()


def read_content(txn: Transaction, databases: Databases) -> Content:
    """Raises CorruptData if the entry at the applied index is not there or damaged."""
    header = Header.load(txn, databases)
    head = load_applied(txn, databases, header.applied_index)
    cluster_id = txn.get(b"cluster_id", db=databases.meta) or b""
    return Content(cluster_id.decode("utf-8", "replace"), header, head)


def digest_held(txn: Transaction, databases: Databases, index: LogIndex) -> bytes | None:
    """Rolling hash after `index`, as noted apart from the header."""
    return txn.get(pack_number(index), db=databases.digests)


def remove_parts(directory: Path) -> None:
    """Leftovers of attempts that did not end."""
    for part in directory.glob("*" + PART_SUFFIX):
        part.unlink(missing_ok=True)


# What travels between a node and its snapshot processes: JSON.


def manifest_to_json(manifest: SnapshotManifest) -> dict[str, Any]:
    return {
        "snapshot_id": manifest.snapshot_id,
        "cluster_id": manifest.cluster_id,
        "index": manifest.index,
        "term": manifest.term,
        "rolling_hash": manifest.rolling_hash.hex(),
        "size_bytes": manifest.size_bytes,
        "digest": manifest.digest.hex(),
    }


def manifest_from_json(fields: dict[str, Any]) -> SnapshotManifest:
    return SnapshotManifest(
        snapshot_id=fields["snapshot_id"],
        cluster_id=fields["cluster_id"],
        index=LogIndex(fields["index"]),
        term=Term(fields["term"]),
        rolling_hash=bytes.fromhex(fields["rolling_hash"]),
        size_bytes=fields["size_bytes"],
        digest=bytes.fromhex(fields["digest"]),
    )


def hard_state_to_json(state: HardState) -> dict[str, Any]:
    return {"term": state.term, "voted_for": state.voted_for, "commit_index": state.commit_index}


def hard_state_from_json(fields: dict[str, Any]) -> HardState:
    voted_for = fields["voted_for"]
    return HardState(
        Term(fields["term"]), None if voted_for is None else NodeId(voted_for), LogIndex(fields["commit_index"])
    )


def sync_file(file: Path) -> None:
    """Makes the file's bytes durable."""
    fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
