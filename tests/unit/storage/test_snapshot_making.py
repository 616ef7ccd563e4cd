"""A snapshot is the whole store at one index, however busy the store is, and costs the store nothing but pages."""

import asyncio
import contextlib
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from replicator.machine.codec import decode_entry
from replicator.model.ids import LogIndex, Term
from replicator.model.log import HardState, TurnWrite
from replicator.storage import DiskFull, SnapshotFailed, Storage, make_snapshot, remove_snapshots, snapshot_file
from replicator.storage.failures import SnapshotRefused
from tests.support.commands import a_turn, an_entry, by, put
from tests.support.storage_process import BIG_VALUE, next_turn, opened
from tests.support.stores import a_past, follow, prepare

HELD_READ = """
import lmdb, sys
env = lmdb.open(sys.argv[1], readonly=True, map_size=1 << 30)
txn = env.begin()
print("open", flush=True)
sys.stdin.read()
"""


async def installed_copy(source: Path, tmp_path: Path) -> Storage:
    """A fresh node that took over a snapshot of `source`."""
    manifest = await make_snapshot(source, tmp_path / "snapshots")
    await prepare(snapshot_file(tmp_path / "snapshots", manifest.snapshot_id), manifest, tmp_path / "incoming")
    copy = opened(tmp_path / "copy")
    copy.commit(TurnWrite(hard_state=HardState(Term(2), None, LogIndex(0))))
    copy.install(tmp_path / "incoming")
    return copy


async def test_an_installed_copy_behaves_like_its_source(storage: Storage, tmp_path: Path) -> None:
    past = a_past(150)
    follow(storage, past)
    copy = await installed_copy(tmp_path / "data", tmp_path)
    try:
        assert (copy.position, copy.state_hash()) == (storage.position, storage.state_hash())
        assert copy.load_log().first_index == copy.load_log().last_index == 150
        assert copy.digest_at(LogIndex(150)) == storage.position.rolling_hash
        first = decode_entry(past[147].payload)
        assert first is not None
        retried = an_entry(151, first.batches[0], put(b"new", b"1", by(1, 7_000)), time_ms=160)
        outcomes = [held.commit(a_turn(retried, term=2))[0] for held in (storage, copy)]
        assert outcomes[0] == outcomes[1]
        retry, new = outcomes[0]
        assert (new.revisions[0], retry.index) == (copy.position.revision, 148), "a retry gets its first outcome"
        assert copy.position == storage.position
        copy.commit(TurnWrite(compact_to=LogIndex(151)))
        follow(copy, a_past(170)[151:])
        follow(storage, a_past(170)[151:])
        assert (copy.position, copy.state_hash()) == (storage.position, storage.state_hash())
    finally:
        copy.close()
    again = opened(tmp_path / "copy")
    assert again.position == storage.position
    again.close()


async def test_a_snapshot_of_a_busy_store_is_of_exactly_one_index(tmp_path: Path) -> None:
    """Another thread commits, compacts and grows the map all the while; a twin that replays so far agrees."""
    past = a_past(2000, puts=5)
    busy, done = opened(tmp_path / "data"), threading.Event()
    follow(busy, past[:100])
    reached = 100

    def commit_on() -> None:
        nonlocal reached
        while not done.is_set() and reached < len(past):
            follow(busy, past[reached : reached + 5])
            reached += 5
            busy.commit(TurnWrite(compact_to=LogIndex(reached - 50)))

    worker = threading.Thread(target=commit_on)
    worker.start()
    try:
        copy = await installed_copy(tmp_path / "data", tmp_path)
    finally:
        done.set()
        worker.join()
        busy.close()
    twin = opened(tmp_path / "twin")
    try:
        index = copy.position.applied_index
        assert 100 <= index <= reached
        follow(twin, past[:index])
        assert (copy.position, copy.state_hash()) == (twin.position, twin.state_hash())
        follow(twin, past[index : index + 20])
        follow(copy, past[index : index + 20])
        assert copy.position == twin.position
    finally:
        twin.close()
        copy.close()


async def test_the_uncommitted_tail_stays_behind(storage: Storage, tmp_path: Path) -> None:
    logged = a_past(30, puts=2)
    storage.commit(a_turn(*logged, commit_index=20))
    copy = await installed_copy(tmp_path / "data", tmp_path)
    try:
        assert copy.load_log().last_index == copy.position.applied_index == copy.hard_state().commit_index == 20
    finally:
        copy.close()


async def test_a_key_may_have_any_number_of_revisions(storage: Storage, tmp_path: Path) -> None:
    """LMDB keeps more than some 250 duplicates of a key in a tree of their own."""
    writes = [put(b"often", b"%d" % count) for count in range(1000)]
    storage.commit(a_turn(an_entry(1, put(b"before"), *writes, put(b"then"))))
    copy = await installed_copy(tmp_path / "data", tmp_path)
    try:
        assert (copy.position, copy.state_hash()) == (storage.position, storage.state_hash())
    finally:
        copy.close()


async def test_a_long_log_does_not_travel(storage: Storage, tmp_path: Path) -> None:
    for index in range(1, 201):
        storage.commit(a_turn(an_entry(index, put(b"one", b"x" * 50_000 + b"%d" % (index % 2)), put(b"two"))))
    before_bytes = storage.data_bytes() + storage.log_bytes()
    manifest = await make_snapshot(tmp_path / "data", tmp_path / "snapshots")
    assert manifest.size_bytes < 0.6 * before_bytes, "values are kept at every revision, the log is not"


async def test_a_store_without_a_past_has_no_snapshot(storage: Storage, tmp_path: Path) -> None:
    storage.commit(TurnWrite(append=a_past(3)))
    with pytest.raises(SnapshotFailed, match="nothing is applied"):
        await make_snapshot(tmp_path / "data", tmp_path / "snapshots")
    assert list((tmp_path / "snapshots").iterdir()) == []


async def test_no_data_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(SnapshotFailed, match="No such file"):
        await make_snapshot(tmp_path / "nowhere", tmp_path / "snapshots")


@pytest.mark.parametrize("limit_share", [0.0, 0.01, 0.5, 1.01])
async def test_a_full_disk_is_told_and_nothing_is_left(storage: Storage, tmp_path: Path, limit_share: float) -> None:
    """The last share is room for the copy, not for what taking out the log needs."""
    follow(storage, a_past(100))
    whole = await make_snapshot(tmp_path / "data", tmp_path / "whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(storage.data_bytes() * limit_share), limits[1]))
    try:
        with pytest.raises(DiskFull):
            await make_snapshot(tmp_path / "data", tmp_path / "snapshots")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "snapshots").iterdir()) == []
    assert (await make_snapshot(tmp_path / "data", tmp_path / "snapshots")).index == whole.index


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.1, 0.2, 0.3])
async def test_giving_up_at_any_moment_leaves_a_whole_snapshot_or_nothing(
    storage: Storage, tmp_path: Path, after_s: float
) -> None:
    follow(storage, a_past(20))
    target = tmp_path / "snapshots"
    target.mkdir()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(make_snapshot(tmp_path / "data", target), after_s)
    assert [file.suffix for file in target.iterdir()] in ([], [".snapshot"])
    follow(storage, a_past(30)[20:])


async def test_leftovers_of_a_killed_attempt_are_removed_and_snapshots_no_longer_wanted_too(
    storage: Storage, tmp_path: Path
) -> None:
    target = tmp_path / "data" / "snapshots"
    target.mkdir()
    (target / "copy.part").write_bytes(b"half")
    ids = []
    for count in (10, 20, 30):
        follow(storage, a_past(count)[count - 10 :])
        ids.append((await make_snapshot(tmp_path / "data", target)).snapshot_id)
    assert {file.stem for file in target.iterdir()} == set(ids)
    remove_snapshots(target, {ids[1], "unknown"})
    assert [file.name for file in target.iterdir()] == [ids[1] + ".snapshot"]


async def test_the_folders_of_snapshots_do_not_keep_a_store_from_opening(tmp_path: Path) -> None:
    for folder in ("snapshots", "incoming"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        (tmp_path / "data" / folder / "copy.part").write_bytes(b"half")
    opened(tmp_path / "data").close()


@pytest.mark.parametrize(
    "name", ["../x", "", "1-x", "0-0123456789abcdef", "1-0123456789abcdef/..", "1-0123456789abcdef\n"]
)
def test_a_name_from_elsewhere_leads_to_no_other_file(name: str) -> None:
    with pytest.raises(SnapshotRefused, match="names no snapshot"):
        snapshot_file(Path("folder"), name)


def test_pages_that_a_killed_reader_held_are_freed_before_the_map_grows(storage: Storage, tmp_path: Path) -> None:
    """A snapshot process that dies leaves its mark in the reader table, which would hold every later page for ever."""
    storage.commit(next_turn(storage))
    reader = subprocess.Popen(
        [sys.executable, "-c", HELD_READ, tmp_path / "data"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"open\n"
        assert str(reader.pid) in storage._environment.opened().env.readers()
    finally:
        reader.send_signal(signal.SIGKILL)
        reader.communicate()
    file, before_bytes = tmp_path / "data" / "data.mdb", (tmp_path / "data" / "data.mdb").stat().st_size
    while file.stat().st_size == before_bytes:
        storage.commit(next_turn(storage, BIG_VALUE))
    assert str(reader.pid) not in storage._environment.opened().env.readers()
