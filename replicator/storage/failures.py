"""What can go wrong with a disk, in three classes: retry later, never retry, and a bug of the caller.

EIO is never retried: after a failed sync the kernel may have dropped the pages and called them clean (Rebello et al.,
"Can Applications Recover from fsync Failures?", USENIX ATC 2020).
"""

import errno
from typing import Final

import lmdb

from replicator.model.errors import CorruptData, StorageFailed
from replicator.model.full_disk import FULL_ERRNOS

_CORRUPT: Final = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
)


class DiskFull(Exception):
    """No room for this write: disk, quota or configured size. Nothing was changed; the same write may be retried."""


class SnapshotFailed(Exception):
    """No snapshot could be made or prepared now. Nothing of the node's data was touched; a later attempt may do."""


class SnapshotRefused(Exception):
    """A snapshot is not what it claims to be, or not for this store. Nothing of the node's data was touched."""


class InvariantViolated(StorageFailed):
    """A write contradicts what is stored. A bug above; nothing was changed."""


def is_of_the_disk(error: lmdb.Error) -> bool:
    """Whether the system refused a write or a sync, whatever the file holds. A short write of lmdb is an EIO too."""
    return isinstance(error, lmdb.DiskError) or error.code in FULL_ERRNOS or error.code == errno.EIO


def failure_of(error: lmdb.Error | OSError, doing: str) -> DiskFull | StorageFailed:
    """The failure that an error of lmdb or of the system means. doing: what was tried, for the message."""
    code = error.code if isinstance(error, lmdb.Error) else error.errno
    message = f"{doing}: {error}"
    if isinstance(error, lmdb.DiskError) or code in FULL_ERRNOS:
        return DiskFull(message)
    if isinstance(error, _CORRUPT):
        return CorruptData(message)
    return StorageFailed(message)
