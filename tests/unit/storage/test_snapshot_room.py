"""Two copies of a snapshot are reckoned with, less what is there already; and the limit of the data."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from replicator.model.conditions import Condition
from replicator.storage.snapshots.room import SLACK_BYTES, missing_room

MIB = 1 << 20


@pytest.mark.parametrize(
    ("held_mib", "free_mib", "is_enough"),
    [(0, 200, True), (0, 199, False), (40, 160, True), (40, 159, False), (100, 100, True), (500, 100, True)],
)
def test_the_file_and_its_copy_must_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_mib: int, free_mib: int, is_enough: bool
) -> None:
    file = tmp_path / "snapshot"
    if held_mib:
        file.touch()
        os.truncate(file, held_mib * MIB)
    disk = SimpleNamespace(f_frsize=4096, f_bavail=(free_mib * MIB + SLACK_BYTES) // 4096)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)

    missing = missing_room(file, 100 * MIB, size_max_bytes=100 * MIB)
    assert (missing is None) == is_enough
    if missing is not None:
        needed_mib = 200 - held_mib + SLACK_BYTES // MIB
        free = free_mib + SLACK_BYTES // MIB
        assert missing.condition is Condition.NO_SNAPSHOT_ROOM
        assert missing.detail == f"it needs {needed_mib} MiB under {tmp_path}, {free} MiB are free"


def test_it_must_not_be_larger_than_the_data_of_the_node_may_be(tmp_path: Path) -> None:
    """Whatever the disk has: what would then be installed could not be written to."""
    file, size_max_bytes = tmp_path / "snapshot", 16 * MIB
    assert missing_room(file, size_max_bytes, size_max_bytes=size_max_bytes) is None
    missing = missing_room(file, size_max_bytes + 1, size_max_bytes=size_max_bytes)
    assert missing is not None
    assert str(missing) == (
        "a snapshot exceeds storage.size_max_mib: it has 17 MiB, this node's limit is 16; set the key as on the other "
        "nodes, and restart this one"
    )
