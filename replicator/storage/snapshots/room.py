"""Whether a node has room for a snapshot before any of it is fetched: its disk for two copies, its limit for one."""

import os
from pathlib import Path
from typing import Final

from replicator.model.conditions import Condition, Problem

SLACK_BYTES: Final = 16 << 20  # for the new log, and for what the node writes meanwhile


def missing_room(file: Path, size_bytes: int, *, size_max_bytes: int) -> Problem | None:
    """What is missing, as an operator needs it; None if there is room.

    file: where it goes, maybe there in part. size_max_bytes: of this node's data; one whose data are larger would
    store nothing more once it has them. Raises OSError.
    """
    if size_bytes > size_max_bytes:
        detail = (
            f"it has {_mib(size_bytes)} MiB, this node's limit is {size_max_bytes >> 20}; set the key as on the other "
            "nodes, and restart this one"
        )
        return Problem(Condition.SNAPSHOT_TOO_LARGE, detail)
    return _missing_on_disk(file, size_bytes)


def _missing_on_disk(file: Path, size_bytes: int) -> Problem | None:
    """Two copies are there at the same time: what is fetched, and the data file made of it, which then takes the place
    of the node's own.
    """
    held_bytes = min(file.stat().st_size, size_bytes) if file.exists() else 0
    needed_bytes = 2 * size_bytes - held_bytes + SLACK_BYTES
    disk = os.statvfs(file.parent)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes >= needed_bytes:
        return None
    detail = f"it needs {_mib(needed_bytes)} MiB under {file.parent}, {free_bytes >> 20} MiB are free"
    return Problem(Condition.NO_SNAPSHOT_ROOM, detail)


def _mib(size_bytes: int) -> int:
    return -(-size_bytes >> 20)
