"""A process of its own that does one thing to a data directory: hold it, write until killed, meet a broken disk.

Run as `python -m tests.support.storage_process MODE DIRECTORY`. Prints one line of JSON, or one number per commit.
"""

import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from replicator.model.errors import StorageFailed
from replicator.model.ids import ClusterId, NodeId
from replicator.model.log import TurnWrite
from replicator.storage import DiskFull, Storage
from tests.support.commands import a_turn, an_entry, put

SIZE_MAX_BYTES = 1 << 30
BIG_VALUE = b"x" * (256 << 10)


def opened(directory: Path, size_max_bytes: int = SIZE_MAX_BYTES, **changes: Any) -> Storage:
    fields: dict[str, Any] = {"cluster_id": ClusterId("c"), "node_id": NodeId("n"), "size_max_bytes": size_max_bytes}
    return Storage.open(directory, **(fields | changes))


def next_turn(storage: Storage, value: bytes = b"v") -> TurnWrite:
    """One entry with three puts: one to a shared key, two to keys named after the entry."""
    index = storage.applied_position.applied_index + 1
    own = b"%d" % index
    return a_turn(an_entry(index, put(b"shared", own), put(b"a" + own, value), put(b"b" + own, value), time_ms=index))


def hold(directory: Path) -> None:
    storage = opened(directory)
    say("open")
    sys.stdin.read()
    storage.close()


def commit_until_killed(directory: Path) -> None:
    storage = opened(directory)
    while True:
        storage.commit(next_turn(storage))
        say(storage.applied_position.applied_index)


def fill_the_disk(directory: Path) -> None:
    """A file size limit is the full disk here: fallocate and pwrite meet it as they would meet ENOSPC."""
    storage = opened(directory)
    _, hard_bytes = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (41 << 20, hard_bytes))
    refused, refusals = None, 0
    before = storage.applied_position
    while refusals < 3:
        before, write = storage.applied_position, refused or next_turn(storage, BIG_VALUE)
        try:
            storage.commit(write)
        except DiskFull as error:
            refused, refusals, message = write, refusals + 1, str(error)
            assert storage.applied_position == before
    assert refused is not None
    readable = storage.get(b"shared")[0]
    file_bytes = (directory / "data.mdb").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard_bytes))
    storage.commit(refused)
    after = storage.applied_position
    for _ in range(200):
        storage.commit(next_turn(storage, BIG_VALUE))
    last, hashed = storage.applied_position, storage.state_hash()
    storage.close()
    again = opened(directory)
    assert (again.applied_position, again.state_hash()) == (last, hashed)
    say(
        {
            "message": message,
            "file_bytes": file_bytes,
            "applied": [before.applied_index, after.applied_index, last.applied_index],
            "readable": readable is not None and readable.value == b"%d" % before.applied_index,
        }
    )


def restart_on_a_full_disk(directory: Path) -> None:
    """Fills the store until not even the smallest write fits, then opens it again and again; no file may grow."""
    storage = opened(directory)
    storage.commit(next_turn(storage, BIG_VALUE))
    _, hard_bytes = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (41 << 20, hard_bytes))
    for value in (BIG_VALUE, BIG_VALUE[: 1 << 14], BIG_VALUE[: 1 << 10], b"v"):
        with suppress(DiskFull):
            while True:
                storage.commit(next_turn(storage, value))
    file_bytes = (directory / "data.mdb").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard_bytes))
    position, numbers = storage.applied_position, []
    storage.close()
    for _ in range(5):
        again = opened(directory)
        assert again.applied_position == position
        numbers.append(again.incarnation.number)
        again.close()
    assert (directory / "data.mdb").stat().st_size == file_bytes
    say({"numbers": numbers})


def meet_a_failing_sync(directory: Path) -> None:
    """Under the shim: FSYNC_SHIM_FAILS or PWRITE_SHIM_FAILS names the file that makes the disk fail."""
    storage = opened(directory)
    storage.commit(next_turn(storage))
    before = storage.position
    control = Path(os.environ.get("FSYNC_SHIM_FAILS") or os.environ["PWRITE_SHIM_FAILS"])
    control.touch()
    failures = [failure_of_commit(storage)]
    control.unlink()
    failures.append(failure_of_commit(storage))
    say({"failures": failures, "unchanged": storage.position == before})


def failure_of_commit(storage: Storage) -> str:
    try:
        storage.commit(next_turn(storage))
    except (StorageFailed, DiskFull) as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    {
        "hold": hold,
        "commit": commit_until_killed,
        "fill": fill_the_disk,
        "full": restart_on_a_full_disk,
        "sync": meet_a_failing_sync,
    }[sys.argv[1]](Path(sys.argv[2]))
