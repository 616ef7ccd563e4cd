"""A batch of reads is one moment of the store: the same pairs that single reads show."""

from pathlib import Path

from replicator.model.ids import ClusterId, NodeId
from replicator.storage import Storage
from tests.support.stores import KEYS, a_past, follow

VALUE_BYTES = 50


def test_many_keys_at_once_are_what_each_is_alone(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path, cluster_id=ClusterId("c"), node_id=NodeId("n"), size_max_bytes=1 << 28)
    try:
        follow(storage, a_past(60))
        keys = [b"key-%05d" % number for number in range(KEYS)] + [b"none", b"key-00001"]
        alone = [storage.get(key) for key in keys]

        columns, revision, index = storage.get_many(keys, bytes_max=1 << 30)

        assert {(revision, index)} == {(each[1], each[2]) for each in alone}
        assert columns.values == [kv.value if kv else b"" for kv, _, _ in alone]
        assert columns.mod_revisions == [kv.mod_revision if kv else 0 for kv, _, _ in alone]
        assert columns.create_revisions == [kv.create_revision if kv else 0 for kv, _, _ in alone]
        assert columns.versions == [kv.version if kv else 0 for kv, _, _ in alone]
        assert 0 in columns.mod_revisions

        live = [key for key, (kv, _, _) in zip(keys, alone, strict=True) if kv is not None]
        assert len(storage.get_many(live, bytes_max=3 * VALUE_BYTES)[0].values) == 3
        assert len(storage.get_many(live, bytes_max=1)[0].values) == 1
        assert len(storage.get_many([b"none"] * 5, bytes_max=0)[0].values) == 5
    finally:
        storage.close()
