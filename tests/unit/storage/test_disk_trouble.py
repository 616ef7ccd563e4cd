"""Full disks, broken disks, killed processes: nothing committed is lost, nothing else is claimed."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from replicator.model.errors import StorageFailed
from replicator.storage import DiskFull, Storage
from tests.support.commands import an_entry
from tests.support.full_disk_process import TURNS as FULL_DISK_TURNS
from tests.support.shims import built_shim
from tests.support.storage_process import BIG_VALUE, next_turn, opened

SEED = random.SystemRandom().randrange(1 << 32)


def command(mode: str, directory: Path) -> list[str]:
    return [sys.executable, "-m", "tests.support.storage_process", mode, str(directory)]


def told_by(mode: str, directory: Path, **environment: str) -> dict[str, Any]:
    return told_by_process(command(mode, directory), environment, timeout_s=120)


def told_by_process(line: list[str], environment: Mapping[str, str], *, timeout_s: float) -> dict[str, Any]:
    done = subprocess.run(
        line, env={**os.environ, **environment}, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_full_disk_refuses_changes_nothing_and_heals_without_a_restart(tmp_path: Path) -> None:
    told = told_by("fill", tmp_path / "data")

    assert "File too large" in told["message"]
    assert told["readable"] is True
    before, after, last = told["applied"]
    assert before > 20
    assert after == before + 1, "the refused write itself was retried"
    assert last == after + 200
    assert told["file_bytes"] <= 41 << 20


def fill(storage: Storage) -> None:
    for _ in range(200):
        storage.commit(next_turn(storage, BIG_VALUE))


def test_the_configured_size_is_a_full_disk_too_and_survives_a_restart(tmp_path: Path) -> None:
    storage = opened(tmp_path / "data", size_max_bytes=24 << 20)
    with pytest.raises(DiskFull, match="configured size"):
        fill(storage)
    before = storage.applied_position
    assert before.applied_index > 5
    assert (tmp_path / "data" / "data.mdb").stat().st_size <= 24 << 20
    storage.close()

    smaller = opened(tmp_path / "data", size_max_bytes=16 << 20)
    assert smaller.applied_position == before, "what found no room in the data file is in the log"
    with pytest.raises(DiskFull):
        fill(smaller)
    before = smaller.applied_position
    smaller.close()

    larger = opened(tmp_path / "data", size_max_bytes=64 << 20)
    assert larger.applied_position.applied_index >= before.applied_index
    larger.commit(next_turn(larger, BIG_VALUE))
    assert larger.position.applied_index == larger.load_log().last_index
    larger.close()


@pytest.mark.parametrize("variable", ["FSYNC_SHIM_FAILS", "PWRITE_SHIM_FAILS"])
def test_a_failed_sync_is_fatal_and_never_retried(shim: Path, tmp_path: Path, variable: str) -> None:
    """Even when the disk is well again, the next commit is refused: only a restart may trust the file."""
    told = told_by("sync", tmp_path / "data", LD_PRELOAD=str(shim), **{variable: str(tmp_path / "fail")})

    failures = told["failures"]
    assert failures[0] == failures[1]
    assert failures[0].startswith("StorageFailed: committing: ")
    assert "Input/output error" in failures[0]
    assert told["unchanged"] is True

    again = opened(tmp_path / "data")
    assert again.position.applied_index == 1, "the failed flush, or commit, left nothing behind"
    again.commit(next_turn(again))
    again.close()


def test_kill_nine_at_any_moment_loses_nothing_committed(tmp_path: Path) -> None:
    """The child says what is durable; after the kill all of it, and whole entries only, is there."""
    dice = random.Random(SEED)
    sys.stdout.write(f"seed {SEED}\n")
    data = tmp_path / "data"
    for _ in range(6):
        with subprocess.Popen(command("commit", data), stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            said = 0
            for _ in range(dice.randrange(1, 60)):
                said = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            said = max([said, *(int(line) for line in child.stdout if line.endswith("\n"))])
            child.wait(timeout=30)

        storage = opened(data)
        position = storage.applied_position
        assert position.applied_index >= said
        assert position.revision == 3 * position.applied_index
        assert storage.load_log().last_index == storage.hard_state().commit_index == position.applied_index
        shared = storage.get(b"shared")[0]
        assert shared is not None
        assert shared.value == b"%d" % position.applied_index
        assert storage.digest_at(position.applied_index) == position.rolling_hash
        assert position.live_keys == 1 + 2 * position.applied_index
        storage.close()


def test_after_a_failure_every_commit_is_refused(tmp_path: Path) -> None:
    storage = opened(tmp_path / "data")
    storage.commit(next_turn(storage))
    gap = next_turn(storage)
    with pytest.raises(StorageFailed, match="expected 2"):
        storage.commit(type(gap)(append=(an_entry(7),)))
    with pytest.raises(StorageFailed, match="expected 2"):
        storage.commit(gap)
    assert storage.position.applied_index == 1
    assert storage.get(b"shared")[0] is not None, "reads go on"
    storage.close()


def test_a_disk_that_is_full_at_any_write_refuses_and_goes_on_by_itself_when_there_is_room(tmp_path: Path) -> None:
    """Of log and state, of reserved blocks too. At one page a restart is needed, and nothing is lost there either."""
    shim = built_shim("full_disk_shim", tmp_path)
    met = told_by_process(
        [sys.executable, "-m", "tests.support.full_disk_process", str(tmp_path / "data")],
        {"LD_PRELOAD": str(shim), "FULL_SHIM_FROM": str(tmp_path / "from"), "FULL_SHIM_MET": str(tmp_path / "met")},
        timeout_s=600,
    )
    assert met.pop("pwrite data.mdb synced: started again") == FULL_DISK_TURNS
    assert {where.split(":")[1] for where in met} == {" went on"}
    kinds = {" ".join(where.split(":")[0].split()[:2]) for where in met}
    for kind in ("posix_fallocate log/N/N.segment.part", "pwrite log/N/N.segment.part", "pwrite log/N/N.segment",
                 "posix_fallocate data.mdb"):  # fmt: skip
        assert kind in kinds
    assert kinds & {"writev data.mdb", "pwritev data.mdb"}, "LMDB's pages"
