"""Recovers a directory and dies by SIGKILL just before its n-th step.

Run as `python -m tests.support.recovering_process DIRECTORY N`. Ends in peace if there are fewer steps.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb

from replicator.model.ids import ClusterId, NodeId, Region
from replicator.model.members import Member
from replicator.storage import env, recover
from replicator.storage.data_directory import locking as directory
from replicator.storage.log import segment
from replicator.storage.offline import recovering
from replicator.storage.state import store

ME = Member(NodeId("n"), Region("eu"), "127.0.0.1:1", "127.0.0.1:2")
SIZE_MAX_BYTES = 1 << 30

steps_left = int(sys.argv[2]) if __name__ == "__main__" else 0


def killing(step: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        global steps_left  # noqa: PLW0603  # one count for all kinds of steps
        if steps_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps_left -= 1
        return step(*args, **kwargs)

    return wrapped


def main() -> None:
    for place, name in (
        (lmdb, "open"),
        (env.OpenData, "close"),
        (directory, "sync_directory"),
        (directory, "reserve"),
        (os, "fsync"),
        (store.LayeredStore, "set_position"),
        (recovering, "flush"),
        (segment.Segment, "create"),
        (segment.Segment, "append"),
        (recovering, "remove_other_logs"),
        (directory.DirectoryLock, "release"),
    ):
        setattr(place, name, killing(getattr(place, name)))
    recover(Path(sys.argv[1]), ClusterId("c"), ME, size_max_bytes=SIZE_MAX_BYTES)


if __name__ == "__main__":
    main()
