"""The process that makes and checks snapshots ends with the node, and its death is an answer too."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from replicator.model.ids import LogIndex, Term
from replicator.model.log import SnapshotManifest
from replicator.storage import SnapshotRefused
from replicator.storage.snapshots import requests as snapshot
from replicator.storage.snapshots.files import hard_state_to_json, manifest_to_json, snapshot_id_of
from tests.support.stores import CLUSTER, NODE, RECEIVER_STATE, prepare

MANIFEST = SnapshotManifest(
    snapshot_id_of(1, bytes(32)), CLUSTER, LogIndex(1), Term(1), bytes(16), size_bytes=1, digest=bytes(32)
)
DEADLINE_S = 60.0


def a_pipe(tmp_path: Path) -> Path:
    """A file whose opening never ends, as nothing writes to it: the process hangs for as long as it lives."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def wait_for(path: Path) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not path.exists():
        assert time.monotonic() < deadline_s, f"{path} did not appear"
        time.sleep(0.01)


def asked(file: Path, prepared_dir: Path) -> dict[str, Any]:
    return {
        "what": "prepare",
        "file": str(file),
        "manifest": manifest_to_json(MANIFEST),
        "cluster_id": CLUSTER,
        "node_id": NODE,
        "hard_state": hard_state_to_json(RECEIVER_STATE),
        "prepared_dir": str(prepared_dir),
    }


def test_the_process_ends_when_the_node_does(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", snapshot.PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(asked(a_pipe(tmp_path), tmp_path / "incoming")) + "\n")
        process.stdin.flush()
        wait_for(tmp_path / "incoming")
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 1
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def test_whoever_gives_up_waiting_ends_the_process(tmp_path: Path) -> None:
    pipe = a_pipe(tmp_path)
    waiting = asyncio.create_task(prepare(pipe, MANIFEST, tmp_path / "incoming"))
    await asyncio.to_thread(wait_for, tmp_path / "incoming")
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    with pytest.raises(OSError, match="No such device"):  # ENXIO: no one has the pipe open to read
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


async def test_a_process_that_dies_of_a_file_refuses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it would by a crash of lmdb. The same node can check another file right after."""
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "PROCESS", "tests.support.dying_process")
        with pytest.raises(SnapshotRefused, match=r"the process died \(signal 11\)"):
            await prepare(tmp_path / "file", MANIFEST, tmp_path / "incoming")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(SnapshotRefused, match="digest: "):
        await prepare(tmp_path / "file", MANIFEST, tmp_path / "incoming")
