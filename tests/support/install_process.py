"""Installs prepared data and dies by SIGKILL just before its n-th step on the file system.

Run as `python -m tests.support.install_process DIRECTORY PREPARED N`. Ends in peace if there are fewer steps.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb

from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import HardState, TurnWrite
from replicator.storage import env
from replicator.storage.data_directory import locking as directory
from tests.support.storage_process import opened

steps_left = int(sys.argv[3])


def killing(step: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        global steps_left  # noqa: PLW0603  # one count for all kinds of steps
        if steps_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps_left -= 1
        return step(*args, **kwargs)

    return wrapped


def main() -> None:
    storage = opened(Path(sys.argv[1]))
    storage.commit(TurnWrite(hard_state=HardState(Term(5), NodeId("voted"), storage.hard_state().commit_index)))
    assert storage.position.applied_index < LogIndex(10)
    for place, name in (
        (lmdb, "open"),
        (env.OpenData, "close"),
        (Path, "unlink"),
        (Path, "replace"),
        (directory, "sync_directory"),
        (directory, "reserve"),
        (os, "fsync"),
    ):
        setattr(place, name, killing(getattr(place, name)))
    storage.install(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
