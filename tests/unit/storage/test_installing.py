"""Prepared data take the place of a node's own at once or not at all, under concurrent reads and any failure."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from replicator.model.errors import StorageFailed
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import HardState, SnapshotManifest, TurnWrite
from replicator.storage import DiskFull, SnapshotRefused, Storage, StorageWriter
from replicator.storage.data_directory import locking as directory
from replicator.storage.snapshots.files import opened_file
from tests.support.commands import a_turn, an_entry, put
from tests.support.storage_process import BIG_VALUE, opened
from tests.support.stores import a_past, follow, prepared_from

PAST = a_past(40)
STEPS_MAX = 60


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SnapshotManifest, str]:
    """A data file at index 40, not to be installed itself (take `a_copy`), and the state hash in it."""
    root = tmp_path_factory.mktemp("prepared")
    storage = opened(root / "data")
    follow(storage, PAST)
    made = prepared_from(storage, root)
    storage.close()
    return made


def a_copy(prepared: tuple[Path, SnapshotManifest, str], target: Path) -> Path:
    return Path(shutil.copytree(prepared[0], target, dirs_exist_ok=True))


def behind(storage: Storage, *, term: int = 2, voted_for: str | None = None) -> None:
    """Five entries, applied; in `term`."""
    follow(storage, PAST[:5])
    vote = None if voted_for is None else NodeId(voted_for)
    storage.commit(TurnWrite(hard_state=HardState(Term(term), vote, LogIndex(5))))


def test_the_newest_vote_survives_an_install(
    storage: Storage, prepared: tuple[Path, SnapshotManifest, str], tmp_path: Path
) -> None:
    """Prepared in term 2, but the node voted in term 3 meanwhile: forgetting that could elect two leaders."""
    behind(storage, term=3, voted_for="other")
    storage.install(a_copy(prepared, tmp_path / "incoming"))
    assert storage.hard_state() == HardState(Term(3), NodeId("other"), LogIndex(40))
    assert storage.state_hash() == (prepared[2], 40)
    assert not (tmp_path / "incoming" / "data.mdb").exists()


def test_the_directory_keeps_its_own_id_over_an_install(
    storage: Storage, prepared: tuple[Path, SnapshotManifest, str], tmp_path: Path
) -> None:
    """It tells the group that this is the directory which gave the votes, from whichever node the data came."""
    own = storage.directory_id
    behind(storage)
    storage.install(a_copy(prepared, tmp_path / "incoming"))
    assert storage.directory_id == own
    storage.close()
    again = opened(tmp_path / "data")
    assert again.directory_id == own
    again.close()


def test_a_foreign_directory_id_in_prepared_data_does_not_take_over(
    storage: Storage, prepared: tuple[Path, SnapshotManifest, str], tmp_path: Path
) -> None:
    behind(storage)
    incoming, own = a_copy(prepared, tmp_path / "incoming"), storage.directory_id
    with opened_file(incoming / "data.mdb", (incoming / "data.mdb").stat().st_size) as env:
        meta = env.open_db(b"meta")
        with env.begin(write=True) as txn:
            assert txn.get(b"directory_id", db=meta) is None, "a snapshot is of no directory"
            txn.put(b"directory_id", b"of another node.", db=meta)
    storage.install(incoming)
    assert storage.directory_id == own
    storage.close()
    again = opened(tmp_path / "data")
    assert again.directory_id == own
    again.close()


def test_a_conflicting_tail_is_gone_after_an_install(
    storage: Storage, prepared: tuple[Path, SnapshotManifest, str], tmp_path: Path
) -> None:
    behind(storage)
    storage.commit(TurnWrite(append=tuple(entry._replace(term=Term(2)) for entry in PAST[5:])))
    storage.install(a_copy(prepared, tmp_path / "incoming"))
    bounds = storage.load_log()
    assert (bounds.first_index, bounds.last_index, bounds.last_term) == (40, 40, 1)


@pytest.mark.parametrize(
    ("committed", "logged", "term", "told"),
    [
        (40, 40, 2, "has committed up to 40"),
        (5, 40, 2, "log holds that entry"),
        (5, 5, 0, "term 1 is ahead of this node's 0"),
    ],
)
def test_data_that_a_node_does_not_need_are_refused_and_nothing_changes(
    storage: Storage,
    prepared: tuple[Path, SnapshotManifest, str],
    tmp_path: Path,
    committed: int,
    logged: int,
    term: int,
    told: str,
) -> None:
    storage.commit(a_turn(*PAST[:logged], commit_index=committed, term=term))
    position = storage.position
    with pytest.raises(SnapshotRefused, match=told):
        storage.install(a_copy(prepared, tmp_path / "incoming"))
    assert storage.position == position
    storage.commit(TurnWrite(hard_state=HardState(Term(3), None, LogIndex(committed))))


@pytest.mark.parametrize("damage", ["missing", "empty", "short"])
def test_prepared_data_that_are_not_whole_are_refused_and_nothing_changes(
    storage: Storage, prepared: tuple[Path, SnapshotManifest, str], tmp_path: Path, damage: str
) -> None:
    behind(storage)
    file = a_copy(prepared, tmp_path / "incoming") / "data.mdb"
    sound = file.read_bytes()
    file.write_bytes(sound[: {"missing": 0, "empty": 0, "short": 20_000}[damage]])
    if damage == "missing":
        file.unlink()
    with pytest.raises(SnapshotRefused):
        storage.install(tmp_path / "incoming")
    assert storage.position.applied_index == 5
    follow(storage, PAST[5:10])
    assert (tmp_path / "data" / "data.mdb").exists()


def test_readers_see_the_old_data_or_the_new_and_never_fail(
    storage: Storage, prepared: tuple[Path, SnapshotManifest, str], tmp_path: Path
) -> None:
    behind(storage)
    old_hash = storage.state_hash()[0]
    seen: set[tuple[str, int]] = set()
    failures: list[BaseException] = []
    started, done = threading.Event(), threading.Event()

    def read_on() -> None:
        try:
            while not done.is_set():
                seen.add(storage.state_hash())
                started.set()
                assert storage.get(b"key-00001")[2] in (5, 40)
                assert storage.scan(b"", None, keys_max=10, bytes_max=1 << 20).applied_index in (5, 40)
                assert storage.load_log().last_index in (5, 40)
                assert storage.data_bytes() > 0
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read_on) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        assert started.wait(30)
        storage.install(a_copy(prepared, tmp_path / "incoming"))
        seen.add(storage.state_hash())
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert failures == []
    assert seen == {(old_hash, 5), (prepared[2], 40)}


async def test_the_writer_installs_between_commits(
    storage: Storage, prepared: tuple[Path, SnapshotManifest, str], tmp_path: Path
) -> None:
    behind(storage)
    writer = StorageWriter(storage)
    await writer.install(a_copy(prepared, tmp_path / "incoming"))
    more = a_past(50)[40:]
    await writer.commit(a_turn(*more, term=2))
    await writer.commit(TurnWrite(compact_to=LogIndex(45)))
    await writer.close()
    assert (storage.position.applied_index, storage.load_log().first_index) == (50, 45)


def test_the_map_grows_after_an_install(
    storage: Storage, prepared: tuple[Path, SnapshotManifest, str], tmp_path: Path
) -> None:
    behind(storage)
    storage.install(a_copy(prepared, tmp_path / "incoming"))
    file = tmp_path / "data" / "data.mdb"
    before_bytes = file.stat().st_size
    while file.stat().st_size == before_bytes:
        more = an_entry(storage.position.applied_index + 1, put(b"big", BIG_VALUE))
        storage.commit(a_turn(more, term=2))
    assert storage.state_hash()[1] == storage.position.applied_index


def test_an_install_that_fails_half_way_ends_the_store_for_good(
    storage: Storage, prepared: tuple[Path, SnapshotManifest, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which data the directory holds is unknown; the old ones are read until the store is closed."""
    behind(storage)
    sync_directory = directory.sync_directory

    def broken(path: Path) -> None:
        if path == storage.path:
            raise OSError(5, "Input/output error")
        sync_directory(path)

    with monkeypatch.context() as patch:
        patch.setattr(directory, "sync_directory", broken)
        with pytest.raises(StorageFailed, match="Input/output error"):
            storage.install(a_copy(prepared, tmp_path / "incoming"))
    with pytest.raises(StorageFailed, match="Input/output error"):
        storage.commit(TurnWrite())
    assert storage.get(b"key-00001")[2] == storage.position.applied_index == 5
    storage.close()
    again = opened(tmp_path / "data")
    assert again.position.applied_index == 40
    again.close()


def test_a_full_disk_during_an_install_changes_nothing(
    storage: Storage, prepared: tuple[Path, SnapshotManifest, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind(storage)
    incoming = a_copy(prepared, tmp_path / "incoming")

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(directory, "reserve", full)
        with pytest.raises(DiskFull, match="No space left"):
            storage.install(incoming)
    follow(storage, PAST[5:10])
    assert storage.position.applied_index == 10
    storage.install(incoming)
    assert storage.state_hash() == (prepared[2], 40)


def test_what_an_install_replaced_is_let_go(
    storage: Storage, prepared: tuple[Path, SnapshotManifest, str], tmp_path: Path
) -> None:
    """No descriptor, and so no disk space, of the old data is left."""
    behind(storage)
    storage.install(a_copy(prepared, tmp_path / "incoming"))
    open_files = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
    mapped = Path("/proc/self/maps").read_text().splitlines()
    assert [line for line in open_files + mapped if str(tmp_path) in line and line.endswith("(deleted)")] == []


def test_killed_at_any_step_an_install_leaves_the_old_data_or_the_new(
    prepared: tuple[Path, SnapshotManifest, str], tmp_path: Path
) -> None:
    """Whatever is left opens, still knows the vote, and can go on: by the same install again, or by new entries."""
    outcomes, code = [], -9
    for step in range(STEPS_MAX):
        data, incoming = tmp_path / f"data-{step}", a_copy(prepared, tmp_path / f"incoming-{step}")
        storage = opened(data)
        behind(storage)
        own = storage.directory_id
        storage.close()
        command = [sys.executable, "-m", "tests.support.install_process", str(data), str(incoming), str(step)]
        code = subprocess.run(command, check=False, timeout=60).returncode
        again = opened(data)
        outcomes.append(again.position.applied_index)
        hard_state = again.hard_state()
        assert (hard_state.term, hard_state.voted_for) == (5, "voted")
        assert again.directory_id == own
        if outcomes[-1] == 5:
            again.install(incoming)
        assert again.state_hash() == (prepared[2], 40)
        again.close()
        if code == 0:
            break
        assert code == -9
    assert code == 0
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {5, 40}
