"""A node that cannot store the snapshot it needs says why, and goes on once it can: limit of the data, full disk."""

import os
from pathlib import Path

import pytest

from tests.support.lacking import a_node_that_lacks_entries
from tests.support.real_nodes import rewrite
from tests.support.shims import built_shim

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

MIB = 1 << 20


async def test_a_disk_without_room_for_a_snapshot_is_told_and_nothing_is_fetched_until_there_is(
    tmp_path: Path, shim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "full"
    async with a_node_that_lacks_entries(tmp_path, value=b"small") as lacking:
        full.touch()
        with monkeypatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(shim))
            patch.setenv("STATVFS_SHIM_FULL", str(full))
            lacking.node.start()
        said = await lacking.until_problem("no room for a snapshot: it needs ")
        assert said.endswith(f"under {lacking.plan.data_dir / 'incoming'}, 1 MiB are free")
        await lacking.assert_said_everywhere(said)
        assert not list(lacking.plan.data_dir.glob("incoming/*")), "nothing is fetched without room"

        full.unlink()
        await lacking.until_caught_up()
        lines = lacking.log().splitlines()
        assert len([line for line in lines if "no room for a snapshot" in line]) == 1, "said once"
        assert [line for line in lines if "a snapshot could be stored again" in line]


async def test_a_snapshot_above_the_limit_of_a_node_is_not_fetched_until_the_limit_is_raised(tmp_path: Path) -> None:
    async with a_node_that_lacks_entries(tmp_path, value=os.urandom(MIB // 8)) as lacking:
        rewrite(lacking.plan, "[storage]\n", "[storage]\nsize_max_mib = 16\n")
        lacking.node.start()
        said = await lacking.until_problem("a snapshot exceeds storage.size_max_mib: it has ")
        assert said.endswith("this node's limit is 16; set the key as on the other nodes, and restart this one")
        await lacking.assert_said_everywhere(said)
        assert not list(lacking.plan.data_dir.glob("incoming/*")), "nothing is fetched"
        assert len([line for line in lacking.log().splitlines() if "a snapshot exceeds" in line]) == 1, "said once"

        await lacking.node.terminate()
        rewrite(lacking.plan, "size_max_mib = 16\n", "size_max_mib = 1024\n")
        lacking.node.start()
        await lacking.until_caught_up()


@pytest.mark.parametrize("under", ["/incoming/", "/incoming/prepared/"], ids=["fetched", "prepared"])
async def test_a_disk_that_is_full_during_a_fetch_is_told_and_the_node_catches_up_when_there_is_room(
    tmp_path: Path, under: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the third write to the snapshot or to its copy on, the disk is full for all: log and data file too."""
    full, met = tmp_path / "full", tmp_path / "met"
    async with a_node_that_lacks_entries(tmp_path, value=os.urandom(MIB // 16)) as lacking:
        full.write_text("3")
        with monkeypatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(built_shim("full_disk_shim", tmp_path)))
            patch.setenv("FULL_SHIM_FROM", str(full))
            patch.setenv("FULL_SHIM_UNDER", under)
            patch.setenv("FULL_SHIM_MET", str(met))
            lacking.node.start()
        said = await lacking.until_problem("a snapshot could not be stored: ")
        assert "No space left on device" in said
        assert under in met.read_text()
        await lacking.assert_said_everywhere(said)
        held = [file.stat().st_size for file in lacking.plan.data_dir.glob("incoming/*") if file.is_file()]
        assert held, "what is fetched already stays"
        assert held[0] > 0

        full.unlink()
        await lacking.until_caught_up()
        assert "a snapshot could be stored again" in lacking.log(), "the log goes on, too"
