"""Which run of which directory this is, which runs of others were linked, and a directory that must not act again."""

import asyncio
import subprocess
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import pytest

from replicator.machine.group_entries import encode_membership
from replicator.model.errors import DataDirectoryError, Superseded
from replicator.model.ids import LogIndex, NodeId, Region, Term
from replicator.model.incarnation import RUN_ID_BYTES, Incarnation, KnownIncarnation
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.model.members import MEMBERS_MAX, Member, Membership
from replicator.storage import DiskFull, SnapshotRefused, Storage, StorageWriter, make_snapshot, snapshot_file
from replicator.storage.data_directory.runs import KNOWN_MAX
from replicator.storage.snapshots.files import DIGEST_BYTES, opened_file
from tests.support.commands import a_turn
from tests.support.storage_process import BIG_VALUE, next_turn, opened
from tests.support.stores import a_past, follow, prepare
from tests.unit.storage.test_disk_trouble import command, told_by

PEER = NodeId("peer")


def a_run(number: int, directory: bytes = b"d", run: bytes = b"r") -> KnownIncarnation:
    return KnownIncarnation(directory * 16, Incarnation(number, run * RUN_ID_BYTES))


def test_every_run_is_counted_and_has_an_id_of_its_own(tmp_path: Path) -> None:
    runs = []
    for _ in range(4):
        storage = opened(tmp_path / "data")
        runs.append(storage.incarnation)
        storage.close()
    assert [run.number for run in runs] == [1, 2, 3, 4]
    assert {len(run.run_id) for run in runs} == {RUN_ID_BYTES}
    assert len({run.run_id for run in runs}) == 4


def test_a_copy_has_the_number_of_the_next_run_and_another_id(tmp_path: Path) -> None:
    opened(tmp_path / "data").close()
    subprocess.run(["cp", "-a", tmp_path / "data", tmp_path / "copy"], check=True)
    one, other = opened(tmp_path / "data"), opened(tmp_path / "copy")
    assert one.directory_id == other.directory_id
    assert one.incarnation.number == other.incarnation.number == 2
    assert one.incarnation != other.incarnation
    one.close()
    other.close()


def test_the_run_is_durable_before_anybody_can_hear_of_it(tmp_path: Path) -> None:
    """The process is killed as soon as it says that it has opened the directory."""
    for number in (1, 2, 3):
        with subprocess.Popen(command("hold", tmp_path / "data"), stdin=-1, stdout=-1) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b'"open"\n'
            child.kill()
        with opened_file(tmp_path / "data" / "data.mdb", (tmp_path / "data" / "data.mdb").stat().st_size) as env:
            meta = env.open_db(b"meta")
            with env.begin() as txn:
                assert int.from_bytes(txn.get(b"incarnation", db=meta) or b"", "big") == number


def fill(storage: Storage, value: bytes) -> None:
    with suppress(DiskFull):
        while True:
            storage.commit(next_turn(storage, value))


@pytest.mark.parametrize("size_mib", [16, 24])
def test_a_store_that_is_full_to_the_last_page_is_opened_again_and_again(tmp_path: Path, size_mib: int) -> None:
    """It serves reads, and no run may go uncounted: so the count has room, even where nothing else has."""
    storage = opened(tmp_path / "data", size_max_bytes=size_mib << 20)
    for value in (BIG_VALUE, BIG_VALUE[: 1 << 14], BIG_VALUE[: 1 << 10], b"v"):
        fill(storage, value)
    position = storage.applied_position
    storage.close()
    for number in range(2, 12):
        again = opened(tmp_path / "data", size_max_bytes=size_mib << 20)
        assert (again.incarnation.number, again.applied_position) == (number, position)
        assert again.get(b"shared")[0] is not None
        again.close()
    assert (tmp_path / "data" / "data.mdb").stat().st_size <= size_mib << 20


def test_a_node_on_a_full_disk_starts_again(tmp_path: Path) -> None:
    """No file may grow there at all."""
    told = told_by("full", tmp_path / "data")
    assert told["numbers"] == list(range(2, 7))


async def test_the_newest_run_of_another_node_is_remembered(tmp_path: Path) -> None:
    storage = opened(tmp_path / "data")
    writer = StorageWriter(storage)
    assert storage.known_incarnation(PEER) is None
    await writer.note_incarnation(PEER, a_run(3))
    await asyncio.gather(writer.commit(next_turn(storage)), writer.note_incarnation(PEER, a_run(4, run=b"s")))
    await writer.close()
    storage.close()
    again = opened(tmp_path / "data")
    assert again.known_incarnation(PEER) == a_run(4, run=b"s")
    assert again.position.applied_index == 1
    again.close()


def test_an_earlier_run_or_another_one_of_the_same_number_changes_nothing_and_another_directory_does(
    storage: Storage,
) -> None:
    storage.note_incarnation(PEER, a_run(5))
    for older in (a_run(4), a_run(5, run=b"x")):
        storage.note_incarnation(PEER, older)
        assert storage.known_incarnation(PEER) == a_run(5)
    storage.note_incarnation(PEER, a_run(1, directory=b"e"))
    assert storage.known_incarnation(PEER) == a_run(1, directory=b"e")


def test_what_a_directory_has_proven_is_kept_with_its_later_runs(storage: Storage) -> None:
    storage.note_incarnation(PEER, a_run(5))
    storage.note_incarnation(PEER, replace(a_run(5), is_of_group=True))
    assert storage.known_incarnation(PEER) == replace(a_run(5), is_of_group=True)
    storage.note_incarnation(PEER, a_run(6))
    assert storage.known_incarnation(PEER) == replace(a_run(6), is_of_group=True)
    storage.note_incarnation(PEER, a_run(1, directory=b"e"))
    assert storage.known_incarnation(PEER) == a_run(1, directory=b"e")


def test_what_is_known_already_costs_no_commit(storage: Storage) -> None:
    storage.note_incarnation(PEER, a_run(5))
    before = storage._environment.opened().env.info()["last_txnid"]
    storage.note_incarnation(PEER, a_run(5))
    assert storage._environment.opened().env.info()["last_txnid"] == before


def test_the_table_is_bounded_and_members_stay_in_it(storage: Storage) -> None:
    names = [NodeId(f"a-{number}") for number in range(MEMBERS_MAX)]
    members = tuple(Member(name, Region("eu"), "h:1", "h:2") for name in sorted(names))
    payload = encode_membership(Membership(LogIndex(0), members))
    storage.commit(a_turn(Entry(payload, LogIndex(1), Term(1))))
    for name in names:
        storage.note_incarnation(name, a_run(1))
    for number in range(2 * KNOWN_MAX):
        storage.note_incarnation(NodeId(f"gone-{number}"), a_run(1))
    with storage._environment.read() as txn:
        assert txn.stat(storage._databases.incarnations)["entries"] == KNOWN_MAX
    assert all(storage.known_incarnation(name) == a_run(1) for name in names)
    assert storage.known_incarnation(NodeId(f"gone-{2 * KNOWN_MAX - 1}")) == a_run(1)


def test_a_directory_that_is_superseded_takes_nothing_more_and_does_not_open_again(tmp_path: Path) -> None:
    storage = opened(tmp_path / "data")
    storage.commit(next_turn(storage))
    number = storage.incarnation.number
    storage.mark_superseded("us-1 has met run 7")
    with pytest.raises(Superseded, match="superseded by another copy"):
        storage.commit(next_turn(storage))
    assert storage.get(b"shared")[0] is not None
    storage.close()
    for _ in range(2):
        with pytest.raises(DataDirectoryError) as caught:
            opened(tmp_path / "data")
        line = str(caught.value)
        assert "\n" not in line
        for part in ("superseded", "(us-1 has met run 7)", "must never act again", "`replicator export", "--join"):
            assert part in line
    with opened_file(tmp_path / "data" / "data.mdb", (tmp_path / "data" / "data.mdb").stat().st_size) as env:
        meta = env.open_db(b"meta")
        with env.begin() as txn:
            assert txn.get(b"incarnation", db=meta) == number.to_bytes(8, "big"), "it is not even counted"


async def test_runs_and_marks_are_the_nodes_own_and_in_no_snapshot(tmp_path: Path) -> None:
    source = opened(tmp_path / "source")
    follow(source, a_past(30))
    source.note_incarnation(PEER, a_run(9))
    manifest = await make_snapshot(tmp_path / "source", tmp_path / "made")
    source.mark_superseded("a test")
    marked = await make_snapshot(tmp_path / "source", tmp_path / "made-marked")
    source.close()
    for made, number in ((manifest, 0), (marked, 1)):
        receiver = opened(tmp_path / f"receiver-{number}")
        receiver.commit(TurnWrite(hard_state=HardState(Term(2), None, LogIndex(0))))
        receiver.note_incarnation(NodeId("other"), a_run(2))
        run = receiver.incarnation
        file = snapshot_file(tmp_path / ("made-marked" if number else "made"), made.snapshot_id)
        await prepare(file, made, tmp_path / "incoming")
        receiver.install(tmp_path / "incoming")
        assert receiver.position.applied_index == 30
        assert receiver.incarnation == run
        assert receiver.known_incarnation(NodeId("other")) == a_run(2)
        assert receiver.known_incarnation(PEER) is None
        receiver.close()
        again = opened(tmp_path / f"receiver-{number}")
        assert again.incarnation.number == run.number + 1
        assert again.known_incarnation(NodeId("other")) == a_run(2)
        again.close()


@pytest.mark.parametrize("own", [b"incarnation", b"superseded", b"directory_id", b"joining", b"a row"])
async def test_a_snapshot_that_says_what_only_a_node_can_say_is_refused(tmp_path: Path, own: bytes) -> None:
    source = opened(tmp_path / "source")
    follow(source, a_past(5))
    manifest = await make_snapshot(tmp_path / "source", tmp_path / "made")
    source.close()
    file = snapshot_file(tmp_path / "made", manifest.snapshot_id)
    with opened_file(file, file.stat().st_size + (1 << 20)) as env:
        database = env.open_db(b"incarnations" if own == b"a row" else b"meta")
        with env.begin(write=True) as txn:
            txn.put(own, bytes(16), db=database)
    digest = blake2b(file.read_bytes(), digest_size=DIGEST_BYTES).digest()
    forged = replace(
        manifest,
        digest=digest,
        size_bytes=file.stat().st_size,
        snapshot_id=f"{manifest.index}-{digest.hex()[:16]}",
    )
    told = "number of incarnations: 1" if own == b"a row" else f"{own.decode()} of a node"
    with pytest.raises(SnapshotRefused, match=told):
        await prepare(file, forged, tmp_path / "incoming")
    assert not (tmp_path / "incoming" / "data.mdb").exists()


def test_the_reason_of_a_mark_is_one_printable_line_of_bounded_length(tmp_path: Path) -> None:
    """It may come from another node."""
    storage = opened(tmp_path / "data")
    storage.mark_superseded("a\nb\x1b[31m" + "x" * 10_000)
    storage.close()
    with pytest.raises(DataDirectoryError) as caught:
        opened(tmp_path / "data")
    assert "(a b?[31mxxx" in str(caught.value)
    assert len(str(caught.value)) < 1000
