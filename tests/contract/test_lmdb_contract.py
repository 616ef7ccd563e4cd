"""What py-lmdb 3.0 does, where `replicator/storage` builds on it. An upgrade speaks here first."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

# Runs in a process of its own, since limits and a broken libc are for all of it. `errors` is what each write met.
PREAMBLE = """
import json, os, resource, sys, lmdb
def write(env, count, start=0):
    try:
        with env.begin(write=True) as txn:
            for n in range(start, start + count):
                txn.put(b"%08d" % n, b"x" * 1000)
    except lmdb.Error as error:
        return [type(error).__name__, error.code, error.what]
    return None
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
path = sys.argv[1]
env = lmdb.open(path, map_size=1 << 26)
errors = [write(env, 10)]
size = os.stat(path + "/data.mdb").st_size
"""
EPILOGUE = """
try:
    with env.begin() as txn:
        entries = txn.stat()["entries"]
except lmdb.PanicError:
    entries = -1
print(json.dumps({"errors": errors, "entries": entries}))
"""


def told_by(script: str, path: Path, **environment: str) -> tuple[list[list[object] | None], int]:
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + script + EPILOGUE, path],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return told["errors"], told["entries"]


def test_new_files_are_of_the_0_9_engine(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as env:
        assert env.lib_version()[:2] == (0, 9)
    assert lmdb.version()[:2] == (0, 9)


def test_a_full_map_is_map_full_and_the_transaction_can_be_run_again_after_growing(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), map_size=1 << 16) as env:
        with pytest.raises(lmdb.MapFullError), env.begin(write=True) as txn:
            txn.cursor().putmulti([(b"%08d" % number, b"x" * 1000) for number in range(1000)])
        env.set_mapsize(1 << 24)
        with env.begin(write=True) as txn:
            assert txn.stat()["entries"] == 0
            assert txn.put(b"a", b"1")


def test_a_file_that_cannot_grow_shows_as_eio_not_as_a_full_disk(tmp_path: Path) -> None:
    """A short write is EIO to LMDB 0.9, the same as a broken disk. This is why the file is reserved up to the map."""
    errors, entries = told_by("limit(size + 6000); errors.append(write(env, 100, 50))", tmp_path)

    assert errors == [None, ["Error", 5, "mdb_txn_commit"]]
    assert entries == 10


def test_a_reserved_file_takes_writes_up_to_the_map_and_then_the_map_is_full(tmp_path: Path) -> None:
    script = (
        "fd = os.open(path + '/data.mdb', os.O_RDWR); os.posix_fallocate(fd, 0, 1 << 22); os.close(fd)\n"
        "env.set_mapsize(1 << 22); limit(1 << 22)\n"
        "errors += [write(env, 500, 50), write(env, 5000, 1000), write(env, 10, 600)]"
    )
    errors, entries = told_by(script, tmp_path)

    assert errors == [None, None, ["MapFullError", -30792, "mdb_put"], None]
    assert entries == 520


def test_a_full_disk_shows_its_errno_when_space_is_reserved_and_the_file_stays_usable(tmp_path: Path) -> None:
    script = (
        "limit(1 << 20); fd = os.open(path + '/data.mdb', os.O_RDWR)\n"
        "try: os.posix_fallocate(fd, 0, 1 << 22)\n"
        "except OSError as error: errors.append(['OSError', error.errno, ''])\n"
        "limit(resource.RLIM_INFINITY); errors.append(write(env, 500, 50))"
    )
    errors, entries = told_by(script, tmp_path)

    assert errors == [None, ["OSError", 27, ""], None]
    assert entries == 510


def test_a_failed_data_sync_fails_the_commit_with_eio_and_changes_nothing(shim: Path, tmp_path: Path) -> None:
    """LMDB itself would go on with the next commit: that no one retries is for storage to see to."""
    control = tmp_path / "fail"
    script = (
        f"open({str(control)!r}, 'w').close(); errors.append(write(env, 5, 50))\n"
        f"os.unlink({str(control)!r}); errors.append(write(env, 5, 90))"
    )
    errors, entries = told_by(script, tmp_path, LD_PRELOAD=str(shim), FSYNC_SHIM_FAILS=str(control))

    assert errors == [None, ["Error", 5, "mdb_txn_commit"], None]
    assert entries == 15


def test_a_failed_meta_write_is_final_for_the_environment(shim: Path, tmp_path: Path) -> None:
    """For reads too, until it is opened again. The commit record has a synchronous descriptor of its own."""
    control = tmp_path / "fail"
    script = (
        f"open({str(control)!r}, 'w').close(); errors.append(write(env, 5, 50))\n"
        f"os.unlink({str(control)!r}); errors.append(write(env, 5, 90))"
    )
    errors, entries = told_by(script, tmp_path, LD_PRELOAD=str(shim), PWRITE_SHIM_FAILS=str(control))

    assert errors[1] == ["Error", 5, "mdb_txn_commit"]
    assert errors[2] is not None
    assert errors[2][0] == "PanicError"
    assert entries == -1, "not even reads"
    with lmdb.open(str(tmp_path)) as env, env.begin() as txn:
        assert txn.stat()["entries"] == 10


def test_append_returns_false_for_a_key_that_is_not_the_last(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as txn:
        assert txn.put(b"b", b"1", append=True)
        assert not txn.put(b"b", b"2", append=True)
        assert not txn.put(b"a", b"2", append=True)
        assert txn.get(b"b") == b"1"


def test_deleting_at_a_cursor_moves_it_to_the_next_pair_and_past_the_end_its_key_is_empty(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as txn:
        for key in (b"a", b"b"):
            txn.put(key, b"1")
        with txn.cursor() as cursor:
            assert cursor.set_range(b"a")
            assert cursor.delete()
            assert cursor.key() == b"b"
            assert cursor.delete()
            assert cursor.key() == b""


def test_duplicates_are_found_at_or_after_a_value_and_a_miss_loses_the_cursor(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), max_dbs=1) as env:
        db = env.open_db(b"d", dupsort=True, dupfixed=True)
        with env.begin(write=True) as txn:
            for value in (b"1", b"3", b"5"):
                txn.put(b"k", value, db=db)
            txn.put(b"l", b"9", db=db)
            with txn.cursor(db=db) as cursor:
                assert cursor.set_range_dup(b"k", b"4")
                assert cursor.value() == b"5"
                assert cursor.prev_dup()
                assert cursor.item() == (b"k", b"3")
                assert not cursor.set_range_dup(b"k", b"6"), "never runs over into the next key"
                assert cursor.set_key(b"k")
                assert cursor.value() == b"1", "a cursor that comes to a key stands at its first duplicate"
                assert cursor.last_dup()
                assert cursor.next_nodup()
                assert cursor.item() == (b"l", b"9")


def test_keys_may_have_511_bytes(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as env:
        assert env.max_key_size() == 511


def test_one_process_cannot_open_an_environment_twice(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)), pytest.raises(lmdb.Error):
        lmdb.open(str(tmp_path))


OTHER_PROCESS = """
import lmdb, sys
with lmdb.open(sys.argv[1], readonly=True) as env, env.begin() as txn:
    print(txn.get(b"k").decode())
"""


def test_an_open_environment_may_be_renamed_over_another_open_one(tmp_path: Path) -> None:
    """So an install opens the new data before it lets go of the old: both are read, and one is written and found."""

    def found_by_another_process() -> str:
        command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    old, new = lmdb.open(str(tmp_path)), lmdb.open(str(tmp_path / "new"))
    for env, value in ((old, b"old"), (new, b"new")):
        with env.begin(write=True) as txn:
            txn.put(b"k", value)
    with old.begin() as before:
        assert found_by_another_process() == "old"
        for name in ("lock.mdb", "data.mdb"):
            (tmp_path / "new" / name).replace(tmp_path / name)
        assert found_by_another_process() == "new"
        with new.begin(write=True) as txn:
            txn.put(b"k", b"newer")
        assert before.get(b"k") == b"old"
    old.close()
    assert found_by_another_process() == "newer"
    new.close()


COMPACTING_COPY = """
import lmdb, os, sys
env = lmdb.open(sys.argv[1], map_size=1 << 26, max_dbs=1)
revisions = env.open_db(b"revisions", dupsort=True, dupfixed=True)
with env.begin(write=True) as txn:
    for n in range(int(sys.argv[2])):
        txn.put(b"key", n.to_bytes(8, "big"), db=revisions)
with open(sys.argv[1] + "/copy", "wb") as copy:
    env.copyfd(copy.fileno(), compact=True)
"""


@pytest.mark.parametrize(("duplicates", "exit_code"), [(100, 0), (1000, -signal.SIGSEGV)])
def test_a_compacting_copy_kills_the_process_if_duplicates_have_a_tree(
    tmp_path: Path, duplicates: int, exit_code: int
) -> None:
    """So snapshots are copied record by record. If this fails, LMDB's own copy may be used again."""
    command = [sys.executable, "-c", COMPACTING_COPY, str(tmp_path / "env"), str(duplicates)]
    assert subprocess.run(command, check=False).returncode == exit_code
