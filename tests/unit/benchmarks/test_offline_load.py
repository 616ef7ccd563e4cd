"""Directories that are filled without nodes."""

from pathlib import Path

from benchmarks.keys import key_of
from benchmarks.offline_load import PUTS_PER_ENTRY, SIZE_MAX_BYTES, Filling, fill
from replicator.dev import plan_cluster
from replicator.storage import Storage


def test_every_node_gets_the_same_entries_and_all_keys(tmp_path: Path) -> None:
    """Nodes that start on them agree at once, whatever the number of keys is divisible by."""
    plan = plan_cluster(tmp_path, ["eu", "us", "ap"])
    plan.write()
    keys = 3 * PUTS_PER_ENTRY + 1
    hashes = set()
    for node in plan.nodes:
        fill(plan, node, Filling(keys, value_bytes=10, seed=7))
        storage = Storage.open(
            node.data_dir, cluster_id=plan.cluster_id, node_id=node.id, size_max_bytes=SIZE_MAX_BYTES
        )
        try:
            position, last = storage.position, storage.load_log().last_index
            assert position.live_keys == keys
            assert position.applied_index == last == storage.hard_state().commit_index == 4
            found, _, _ = storage.get(key_of(keys - 1))
            assert found is not None
            assert len(found.value) == 10
            hashes.add((position.rolling_hash, storage.state_hash()))
        finally:
            storage.close()
    assert len(hashes) == 1
