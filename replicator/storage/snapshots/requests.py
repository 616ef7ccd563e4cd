"""Snapshots, as a node asks for them: each is made or checked by a process of its own (`snapshot_process`)."""

import asyncio
import contextlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from replicator.model.errors import CorruptData
from replicator.model.ids import ClusterId, NodeId
from replicator.model.log import HardState, SnapshotManifest
from replicator.storage.env import DATA_FILE
from replicator.storage.failures import DiskFull, SnapshotFailed, SnapshotRefused
from replicator.storage.snapshots.files import (
    INCOMING_DIR,
    SNAPSHOT_SUFFIX,
    SNAPSHOTS_DIR,
    hard_state_to_json,
    manifest_from_json,
    manifest_to_json,
    remove_parts,
    snapshot_file,
)

__all__ = [
    "INCOMING_DIR", "SNAPSHOTS_DIR", "make_snapshot", "prepare_snapshot", "remove_snapshots", "snapshot_file",
]  # fmt: skip

PROCESS: Final = "replicator.storage.snapshots.process"
_FAILURES: Final = {kind.__name__: kind for kind in (DiskFull, SnapshotFailed, SnapshotRefused, CorruptData)}


class _Died(Exception):
    """The process ended without an answer."""


async def make_snapshot(data_dir: Path, target_dir: Path) -> SnapshotManifest:
    """Copies the newest commit of `data_dir`, which a node has open, to `snapshot_file(target_dir, id)`, durably.

    Takes as long as the data are large; cancel it to give up. Needs as much free space as the data take, and
    meanwhile the node's file reuses no page, so it grows. Not to be run during an install.
    Raises DiskFull, SnapshotFailed (also if nothing is applied yet), CorruptData (the node's own data are damaged).
    """
    try:
        done = await _run({"what": "make", "data_dir": str(data_dir), "target_dir": str(target_dir)})
    except _Died as error:
        _remove_parts_if_any(target_dir)
        raise SnapshotFailed(str(error)) from error
    except asyncio.CancelledError:
        _remove_parts_if_any(target_dir)
        raise
    assert done is not None
    return manifest_from_json(done)


async def prepare_snapshot(
    file: Path,
    manifest: SnapshotManifest,
    *,
    cluster_id: ClusterId,
    node_id: NodeId,
    hard_state: HardState,
    prepared_dir: Path,
) -> None:
    """Checks a received file through and through and leaves a data file for this node in `prepared_dir`.

    For `Storage.install`. hard_state: term and vote of this node. Needs space for a second copy; `file` stays.
    Raises SnapshotRefused, which names what differs, DiskFull or SnapshotFailed; then `prepared_dir` holds no data.
    """
    asked = {
        "what": "prepare",
        "file": str(file),
        "manifest": manifest_to_json(manifest),
        "cluster_id": cluster_id,
        "node_id": node_id,
        "hard_state": hard_state_to_json(hard_state),
        "prepared_dir": str(prepared_dir),
    }
    try:
        await _run(asked)
    except _Died as error:  # perhaps of this very file
        _remove_prepared(prepared_dir)
        raise SnapshotRefused(str(error)) from error
    except asyncio.CancelledError:
        _remove_prepared(prepared_dir)
        raise


def remove_snapshots(target_dir: Path, keep: set[str]) -> None:
    """Removes all snapshot files but those whose ids are in `keep`."""
    for file in target_dir.glob("*" + SNAPSHOT_SUFFIX):
        if file.name.removesuffix(SNAPSHOT_SUFFIX) not in keep:
            file.unlink(missing_ok=True)


async def _run(asked: dict[str, Any]) -> dict[str, Any] | None:
    """What the process answers; it is gone when this returns or raises.

    Not started by the loop: uvloop forks, and a fork of a process with gRPC's threads now and then dies of SIGSEGV
    before it becomes the new program. Popen uses vfork, which runs nothing of ours in between (CPython 3.11, Linux).
    """
    process = subprocess.Popen(  # noqa: ASYNC220  # returns within milliseconds
        [sys.executable, "-m", PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with ThreadPoolExecutor(1, thread_name_prefix="snapshot-process") as thread:
        answering = asyncio.get_running_loop().run_in_executor(thread, _converse, process, asked)
        try:
            line = await asyncio.shield(answering)
        except asyncio.CancelledError:
            process.kill()  # which ends the conversation
            await asyncio.wait({answering})
            raise
    return _answered(line, process.returncode, asked["what"])


def _converse(process: "subprocess.Popen[bytes]", asked: dict[str, Any]) -> bytes:
    """Waits for the end of the process. Its standard input stays open until then: the end of that would be its own."""
    assert process.stdin is not None
    assert process.stdout is not None
    with process, contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        process.wait()
        return line
    return b""


def _answered(line: bytes, code: int, what: str) -> dict[str, Any] | None:
    if code != 0 or not line.endswith(b"\n"):
        raise _Died(f"{what}: the process died ({f'signal {-code}' if code < 0 else f'code {code}'})")
    answer = json.loads(line)
    if "failed" in answer:
        raise _FAILURES[answer["failed"]](answer["message"])
    done: dict[str, Any] | None = answer["done"]
    return done


def _remove_parts_if_any(directory: Path) -> None:
    if directory.is_dir():
        remove_parts(directory)


def _remove_prepared(prepared_dir: Path) -> None:
    _remove_parts_if_any(prepared_dir)
    (prepared_dir / DATA_FILE).unlink(missing_ok=True)
