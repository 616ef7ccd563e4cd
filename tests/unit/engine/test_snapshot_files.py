"""The folders of snapshots belong to the directory that a node has open, wherever its path leads meanwhile."""

from pathlib import Path

import pytest

from replicator.engine.snapshots.folders import SnapshotFiles
from replicator.model.ids import NodeId
from replicator.storage import SnapshotFailed
from tests.support.members import voters
from tests.support.replicas import hand_settings
from tests.support.storage_process import next_turn, opened


async def test_no_snapshot_is_made_of_a_directory_that_took_the_place_of_the_nodes_own(tmp_path: Path) -> None:
    node, data = NodeId("n"), tmp_path / "data"
    storage = opened(data)
    storage.commit(next_turn(storage))
    files = SnapshotFiles(storage, hand_settings(node, voters(node)))
    assert (await files.make()).index == 1
    data.rename(tmp_path / "moved")
    with pytest.raises(SnapshotFailed, match="not the one that this node has open"):
        await files.make()
    other = opened(data)
    other.commit(next_turn(other))
    other.close()
    with pytest.raises(SnapshotFailed, match="not the one that this node has open"):
        await files.make()
    storage.close()
