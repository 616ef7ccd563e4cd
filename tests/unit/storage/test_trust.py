"""One process a directory, whatever is deleted; and no directory or file that others write, or that leads elsewhere."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from replicator.model.errors import DataDirectoryError, StorageFailed
from replicator.storage import SNAPSHOTS_DIR, SnapshotFailed, make_snapshot
from replicator.storage.data_directory.locking import DirectoryLock, make_directory
from tests.support.storage_process import next_turn, opened

FILES = ("LOCK", "lock.mdb", "data.mdb")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    storage = opened(tmp_path / "data")
    storage.commit(next_turn(storage))
    storage.close()
    return tmp_path / "data"


@contextmanager
def a_holder(data: Path) -> Iterator[int]:
    """Another process has the directory open; its pid."""
    command = [sys.executable, "-m", "tests.support.storage_process", "hold", str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert json.loads(child.stdout.readline()) == "open"
        yield child.pid
        child.communicate(timeout=30)


def refusal(data: Path) -> str:
    with pytest.raises(DataDirectoryError) as caught:
        opened(data).close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("deleted", [*FILES, "all"])
def test_no_second_process_gets_in_whatever_is_deleted(data: Path, deleted: str) -> None:
    with a_holder(data):
        for name in FILES if deleted == "all" else (deleted,):
            (data / name).unlink()
        assert "in use by process" in refusal(data)


def test_the_file_lock_names_the_process_that_holds_the_directory(data: Path) -> None:
    with a_holder(data) as pid:
        assert (data / "LOCK").read_text().strip() == str(pid)
        assert f"in use by process {pid};" in refusal(data)


def test_a_node_of_an_earlier_release_is_noticed(data: Path) -> None:
    """It locks the file only."""
    script = (
        "import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDWR); fcntl.flock(fd, fcntl.LOCK_EX); "
        "os.pwrite(fd, b'%-20d' % os.getpid(), 0); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(data / "LOCK")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        assert f"in use by process {child.pid};" in refusal(data)
        child.communicate(timeout=30)
    opened(data).close()


def test_readers_share_a_directory_and_keep_a_node_out(data: Path) -> None:
    before = (data / "LOCK").read_bytes()
    readers = [DirectoryLock.share(data) for _ in range(2)]
    assert "is being read by `replicator export`" in refusal(data)
    for reader in readers:
        reader.release()
    assert (data / "LOCK").read_bytes() == before
    storage = opened(data)
    with pytest.raises(DataDirectoryError, match="in use by process"):
        DirectoryLock.share(data)
    storage.close()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_in_place_of_a_file_is_refused_and_nothing_behind_it_changes(
    data: Path, tmp_path: Path, name: str, there: bool
) -> None:
    target = tmp_path / "elsewhere"
    if there:
        target.write_bytes(b"precious")
    (data / name).unlink()
    (data / name).symlink_to(target)
    assert f"{data / name}: is no regular file (a symbolic link" in refusal(data)
    assert target.read_bytes() == b"precious" if there else not target.exists()


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_or_a_directory_in_place_of_a_file_is_refused(data: Path, name: str) -> None:
    (data / name).unlink()
    os.mkfifo(data / name)
    assert "is no regular file" in refusal(data)
    (data / name).unlink()
    (data / name).mkdir()
    assert "is no regular file" in refusal(data)


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_a_second_name_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    """A backup made of hard links would change with the original; two directories could share one data file."""
    (tmp_path / "backup").hardlink_to(data / name)
    assert f"{data / name}: has 1 more name(s) (hard links)" in refusal(data)
    (tmp_path / "backup").unlink()
    opened(data).close()


@pytest.mark.parametrize("name", [".", *FILES])
def test_what_everybody_may_write_is_refused_with_the_remedy(data: Path, name: str) -> None:
    path = data / name
    path.chmod(path.stat().st_mode | 0o002)
    assert f"{path}: everybody may write to it; chmod o-w {path}" in refusal(data)
    path.chmod(path.stat().st_mode & ~0o002)
    opened(data).close()


@as_root
@pytest.mark.parametrize("name", [".", *FILES])
def test_what_belongs_to_another_user_is_refused_with_the_remedy(data: Path, name: str) -> None:
    path = data / name
    os.chown(path, 4711, 4711)
    assert f"{path}: belongs to user 4711, this process runs as 0; chown -R 0 {path}" in refusal(data)


@as_root
def test_a_volume_that_belongs_to_root_will_do_for_another_user(data: Path) -> None:
    """So containers get theirs: owner root, group of the process, writable for the group."""
    script = (
        "import os, sys; from pathlib import Path; from replicator.storage.data_directory import trust\n"
        "os.setgroups([]); os.setgid(4711); os.setuid(4711)\n"
        "fd = trust.open_directory(Path(sys.argv[1])); trust.check_directory(fd, Path(sys.argv[1]))\n"
    )
    for parent in data.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    os.chown(data, 0, 4711)
    data.chmod(0o2775)
    done = subprocess.run([sys.executable, "-c", script, str(data)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "its group 4711 may write to it" in done.stderr


def test_a_group_that_may_write_is_worth_a_warning(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    data.chmod(0o770)
    opened(data).close()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"{data}: its group {data.stat().st_gid} may write to it" in record.getMessage()


@pytest.mark.parametrize("name", ["snapshots", "incoming"])
def test_the_folders_for_snapshots_are_looked_at_as_well(data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (data / name).symlink_to(tmp_path / "elsewhere")
    assert f"{data / name}: is a symbolic link" in refusal(data)
    (data / name).unlink()
    (data / name).mkdir()
    (data / name).chmod(0o777)
    assert f"chmod o-w {data / name}" in refusal(data)


async def test_no_snapshot_is_made_through_a_link(data: Path, tmp_path: Path) -> None:
    storage = opened(data)
    (tmp_path / "elsewhere").mkdir()
    (data / SNAPSHOTS_DIR).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SnapshotFailed, match="is a symbolic link"):
        await make_snapshot(data, data / SNAPSHOTS_DIR)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    storage.close()


def test_a_link_to_the_directory_is_followed_once_and_one_in_place_of_a_folder_is_not(
    data: Path, tmp_path: Path
) -> None:
    """The name in the configuration is the operator's; what is within is the node's."""
    (tmp_path / "link").symlink_to(data)
    storage = opened(tmp_path / "link")
    assert storage.path == data
    storage.close()
    with pytest.raises(DataDirectoryError, match="is a symbolic link"):
        make_directory(tmp_path / "link")


def test_a_directory_that_was_replaced_under_a_running_node_is_not_written_to(data: Path, tmp_path: Path) -> None:
    storage = opened(data)
    data.rename(tmp_path / "moved")
    other = opened(data)
    other.close()
    before = (data / "data.mdb").read_bytes()
    (tmp_path / "prepared").mkdir()
    with pytest.raises(StorageFailed, match="another directory is there"):
        storage._environment.install(tmp_path / "prepared")
    assert (data / "data.mdb").read_bytes() == before
    storage.commit(next_turn(storage))
    storage.close()
