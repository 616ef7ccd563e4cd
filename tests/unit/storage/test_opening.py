"""Whose directory it is, and one clear line when it is not ours."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from replicator.model.errors import DataDirectoryError
from replicator.model.ids import ClusterId, NodeId
from replicator.model.members import DIRECTORY_ID_BYTES
from replicator.storage import Storage
from tests.support.storage_process import SIZE_MAX_BYTES, next_turn, opened


def refusal(path: Path, cluster_id: str = "c", node_id: str = "n") -> str:
    """The one line that opening gives."""
    with pytest.raises(DataDirectoryError) as caught:
        Storage.open(
            path, cluster_id=ClusterId(cluster_id), node_id=NodeId(node_id), size_max_bytes=SIZE_MAX_BYTES
        ).close()
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with one committed turn in it, closed."""
    storage = opened(tmp_path / "data")
    storage.commit(next_turn(storage))
    storage.close()
    return tmp_path / "data"


def test_a_new_directory_is_empty_and_private(tmp_path: Path) -> None:
    storage = opened(tmp_path / "deep" / "data")
    assert storage.position.applied_index == 0
    assert storage.load_log().last_index == 0
    assert storage.hard_state().voted_for is None
    assert (tmp_path / "deep" / "data").stat().st_mode & 0o077 == 0
    storage.close()


def test_reopening_gives_what_was_committed(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    for _ in range(3):
        storage.commit(next_turn(storage))
    position, bounds, hard_state = storage.position, storage.load_log(), storage.hard_state()
    storage.close()
    storage.close()

    again = opened(tmp_path)
    assert (again.position, again.load_log(), again.hard_state()) == (position, bounds, hard_state)
    again.close()


def test_a_directory_keeps_the_id_that_it_got_when_it_was_new(tmp_path: Path) -> None:
    """Wiped and begun anew under the same name, it is another one: the votes it gave are forgotten, and that shows."""
    storage = opened(tmp_path / "data")
    first = storage.directory_id
    storage.close()
    again = opened(tmp_path / "data")
    assert again.directory_id == first
    again.close()

    shutil.rmtree(tmp_path / "data")
    wiped = opened(tmp_path / "data")
    assert len(first) == len(wiped.directory_id) == DIRECTORY_ID_BYTES
    assert wiped.directory_id != first
    wiped.close()


def test_a_directory_that_was_started_without_joining_may_join_as_long_as_it_has_promised_nothing(data: Path) -> None:
    fresh = data.parent / "fresh"
    opened(fresh).close()
    for joins in (True, False):  # once noted, it stays
        storage = opened(fresh, joining=joins)
        assert storage.joining
        storage.close()

    used = opened(data, joining=True)
    assert not used.joining
    used.close()


def test_a_directory_without_an_id_gets_one_at_open(data: Path) -> None:
    """Those of older releases have none."""
    rewrite_meta(data, b"directory_id", None)
    storage = opened(data, new_directory_id=lambda: b"0123456789abcdef")
    assert storage.directory_id == b"0123456789abcdef"
    storage.close()
    again = opened(data)
    assert again.directory_id == b"0123456789abcdef"
    again.close()


def test_an_id_of_another_length_is_damage(data: Path, tmp_path: Path) -> None:
    rewrite_meta(data, b"directory_id", b"short")
    assert "a directory_id of 5 bytes" in refusal(data)
    with pytest.raises(DataDirectoryError, match="a directory_id of 3 bytes"):
        opened(tmp_path / "new", new_directory_id=lambda: b"abc")


def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    holder = [sys.executable, "-m", "tests.support.storage_process", "hold", str(tmp_path / "data")]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert json.loads(child.stdout.readline()) == "open"
        assert f"in use by process {child.pid};" in refusal(tmp_path / "data")
        child.communicate(timeout=30)
    assert child.returncode == 0
    opened(tmp_path / "data").close()


def test_the_same_process_cannot_open_it_twice(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    assert f"in use by process {os.getpid()};" in refusal(tmp_path)
    storage.close()


def test_a_foreign_cluster_or_node_is_refused_with_both_names(data: Path) -> None:
    message = refusal(data, cluster_id="other")
    assert "of cluster c, this node of other" in message
    assert "cluster.id" in message
    message = refusal(data, node_id="other")
    assert "of node n, this node is other" in message
    opened(data).close()


def rewrite_meta(data: Path, name: bytes, value: bytes | None) -> None:
    """value: None takes it out."""
    with lmdb.open(str(data), max_dbs=16, map_size=SIZE_MAX_BYTES) as env:
        meta = env.open_db(b"meta")
        with env.begin(write=True) as txn:
            txn.delete(name, db=meta)
            if value is not None:
                txn.put(name, value, db=meta)


@pytest.mark.parametrize("other", [1, 2, 4])
def test_another_format_is_refused_with_both_numbers(data: Path, other: int) -> None:
    rewrite_meta(data, b"format_version", b"%d" % other)
    assert f"has format {other}, this release reads 3; use the release that wrote it" in refusal(data)


def test_the_format_before_is_refused_for_what_it_is_and_not_as_damage(data: Path) -> None:
    """It has fewer databases."""
    rewrite_meta(data, b"format_version", b"1")
    with lmdb.open(str(data), max_dbs=16, map_size=SIZE_MAX_BYTES) as env:
        database = env.open_db(b"incarnations", create=False)
        with env.begin(write=True) as txn:
            txn.drop(database)
    assert "has format 1, this release reads 3; use the release that wrote it" in refusal(data)


def test_an_lmdb_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as txn:
        txn.put(b"theirs", b"1")
    assert "not written by replicator" in refusal(tmp_path)


def test_a_file_of_the_other_engine_is_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), lib_version=1) as env, env.begin(write=True) as txn:
        txn.put(b"theirs", b"1")
    assert "engine lmdb-1.0, this release reads lmdb-0.9" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"garbage" * 5000, b"x"])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    assert "damaged" in refusal(tmp_path)


def test_a_truncated_file_is_refused_and_does_not_kill_the_process(data: Path) -> None:
    os.truncate(data / "data.mdb", 8192)
    assert "data.mdb has 8192 of" in refusal(data)


def test_a_damaged_page_is_an_error_and_does_not_kill_the_process(data: Path, tmp_path: Path) -> None:
    """Whatever a page holds after damage: refused at opening, found while reading, or harmless; never a crash."""
    script = (
        "import sys; from pathlib import Path; from replicator.model.errors import *\n"
        "from tests.support.storage_process import opened, next_turn\n"
        "try:\n"
        " s = opened(Path(sys.argv[1])); s.load_log(); s.state_hash(); s.scan(b'', None, keys_max=9, bytes_max=99)\n"
        "except (DataDirectoryError, StorageFailed) as error: print(error)\n"
    )
    seed = random.SystemRandom().randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    dice = random.Random(seed)
    for attempt in range(6):
        copy = tmp_path / f"copy-{attempt}"
        shutil.copytree(data, copy)
        with (copy / "data.mdb").open("r+b") as file:
            file.seek(dice.randrange(2, 14) * 4096)
            file.write(dice.randbytes(4096))
        done = subprocess.run([sys.executable, "-c", script, copy], capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, (done.returncode, done.stderr)


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    assert "is not a directory" in refusal(tmp_path / "data")
