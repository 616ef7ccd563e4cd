"""Makes or checks one snapshot, in a process of its own: `python -m replicator.storage.snapshots.process`.

Apart from the node, because a long read transaction there would hold up every growth of the map, copying holds the
interpreter, and a crafted file must not take the node with it. Reads one line of JSON, answers with one; ends at once
when its standard input does, so that it does not outlive the node.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

import lmdb

from replicator.model.errors import CorruptData, DataDirectoryError, StorageFailed
from replicator.model.ids import ClusterId, NodeId
from replicator.storage.failures import DiskFull, SnapshotFailed, SnapshotRefused, failure_of
from replicator.storage.snapshots.checking import Preparation, prepare
from replicator.storage.snapshots.files import hard_state_from_json, manifest_from_json, manifest_to_json
from replicator.storage.snapshots.making import make

NICENESS: Final = 10
_TOLD: Final = (DiskFull, SnapshotFailed, SnapshotRefused, CorruptData)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the node too, which then ends this one
    os.nice(NICENESS)
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_node, daemon=True).start()
    sys.stdout.write(json.dumps(_answer(asked)) + "\n")
    sys.stdout.flush()
    os._exit(0)  # the thread above sits in a read that an orderly exit would wait for


def _end_with_the_node() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"done": _perform(asked)}
    except (OSError, lmdb.Error) as error:
        return _failed(failure_of(error, asked["what"]))
    except (*_TOLD, StorageFailed, DataDirectoryError) as error:
        return _failed(error)


def _failed(error: Exception) -> dict[str, Any]:
    name = type(error).__name__ if isinstance(error, _TOLD) else SnapshotFailed.__name__
    return {"failed": name, "message": str(error)}


def _perform(asked: dict[str, Any]) -> dict[str, Any] | None:
    if asked["what"] == "make":
        return manifest_to_json(make(Path(asked["data_dir"]), Path(asked["target_dir"])))
    assert asked["what"] == "prepare", asked["what"]
    prepare(
        Preparation(
            file=Path(asked["file"]),
            manifest=manifest_from_json(asked["manifest"]),
            cluster_id=ClusterId(asked["cluster_id"]),
            node_id=NodeId(asked["node_id"]),
            hard_state=hard_state_from_json(asked["hard_state"]),
            prepared_dir=Path(asked["prepared_dir"]),
        )
    )
    return None


if __name__ == "__main__":
    main()
