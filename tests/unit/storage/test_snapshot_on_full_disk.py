"""A disk that fails while a fetched snapshot is made ready is a fault of this node, never of the snapshot."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from replicator.storage import DiskFull, SnapshotFailed, make_snapshot, prepare_snapshot, snapshot_file
from tests.support.shims import built_shim
from tests.support.storage_process import opened
from tests.support.stores import CLUSTER, NODE, RECEIVER_STATE, a_past, follow

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

Prepare = Callable[[], Awaitable[None]]


@pytest.fixture
async def prepare(tmp_path: Path) -> Prepare:
    """Of one snapshot, again and again, into `prepared`."""
    storage = opened(tmp_path / "data")
    follow(storage, a_past(40))
    manifest = await make_snapshot(tmp_path / "data", tmp_path)
    storage.close()
    file, prepared = snapshot_file(tmp_path, manifest.snapshot_id), tmp_path / "prepared"

    async def again() -> None:
        await prepare_snapshot(
            file, manifest, cluster_id=CLUSTER, node_id=NODE, hard_state=RECEIVER_STATE, prepared_dir=prepared
        )

    return again


async def test_a_disk_that_is_full_at_any_write_is_told_from_a_bad_snapshot(
    tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the file would be deleted and its source be blamed, and the next one would end in the same way."""
    met, full_from = tmp_path / "met", tmp_path / "from"
    monkeypatch.setenv("LD_PRELOAD", str(built_shim("full_disk_shim", tmp_path)))
    monkeypatch.setenv("FULL_SHIM_FROM", str(full_from))
    monkeypatch.setenv("FULL_SHIM_UNDER", str(tmp_path / "prepared"))
    monkeypatch.setenv("FULL_SHIM_MET", str(met))
    refused: list[str] = []
    while True:
        full_from.write_text(str(len(refused) + 1))
        try:
            await prepare()
        except DiskFull:
            refused.append(met.read_text().split()[0])
            met.unlink()
            assert list((tmp_path / "prepared").iterdir()) == [], "nothing is left that could be installed"
        else:
            break
    assert not met.exists()
    assert {"posix_fallocate", "write"} <= set(refused)
    assert {"pwrite", "pwritev"} & set(refused), "LMDB's pages"


async def test_a_sync_that_fails_is_told_from_a_bad_snapshot_too(
    tmp_path: Path, prepare: Prepare, shim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = tmp_path / "fails"
    fails.touch()
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    monkeypatch.setenv("FSYNC_SHIM_FAILS", str(fails))
    with pytest.raises(SnapshotFailed, match="Input/output error"):
        await prepare()
    fails.unlink()
    await prepare()
