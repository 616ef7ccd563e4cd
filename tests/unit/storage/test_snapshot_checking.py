"""A received file is believed only as far as it is checked: whatever is wrong with it has a name, and harms nothing."""

import asyncio
import contextlib
import random
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lmdb
import pytest

from replicator.model.errors import CorruptData
from replicator.model.ids import ClusterId, LogIndex, NodeId, Term
from replicator.model.log import HardState, SnapshotManifest, TurnWrite
from replicator.storage import DiskFull, SnapshotRefused, make_snapshot, prepare_snapshot, snapshot_file
from replicator.storage.snapshots.checking import Preparation, prepare
from replicator.storage.snapshots.files import file_digest, snapshot_id_of
from tests.support.storage_process import opened
from tests.support.stores import CLUSTER, NODE, RECEIVER_STATE, a_past, follow

FLIPS = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SnapshotManifest]:
    """One snapshot for all tests, which must not change it."""
    root = tmp_path_factory.mktemp("made")
    storage = opened(root / "data")
    follow(storage, a_past(40))
    manifest = asyncio.run(make_snapshot(root / "data", root))
    storage.close()
    return snapshot_file(root, manifest.snapshot_id), manifest


def asked(file: Path, manifest: SnapshotManifest, tmp_path: Path) -> Preparation:
    return Preparation(file, manifest, CLUSTER, NODE, RECEIVER_STATE, tmp_path / "incoming")


def refusal(asked_for: Preparation) -> str:
    with pytest.raises(SnapshotRefused) as caught:
        prepare(asked_for)
    assert list(asked_for.prepared_dir.iterdir()) == [], "nothing is left that could be installed"
    return str(caught.value)


def manifest_of(file: Path, manifest: SnapshotManifest) -> SnapshotManifest:
    """What a liar would send with a changed file."""
    with file.open("rb") as opened_file:
        digest = file_digest(opened_file)
    snapshot_id = snapshot_id_of(manifest.index, digest)
    return replace(manifest, snapshot_id=snapshot_id, digest=digest, size_bytes=file.stat().st_size)


def a_forgery(made: tuple[Path, SnapshotManifest], tmp_path: Path, change: Callable[[Any, Any], None]) -> Preparation:
    """A sound data file whose content `change` wrote anew, with a manifest to match."""
    file = tmp_path / "forged"
    shutil.copy(made[0], file)
    map_size = file.stat().st_size + (1 << 20)
    with (
        lmdb.open(str(file), subdir=False, lock=False, max_dbs=12, map_size=map_size) as env,
        env.begin(write=True) as txn,
    ):
        change(env, txn)
    return asked(file, manifest_of(file, made[1]), tmp_path)


async def test_a_sound_snapshot_becomes_a_data_file_of_this_node(
    made: tuple[Path, SnapshotManifest], tmp_path: Path
) -> None:
    file, manifest = made
    state = HardState(Term(7), NodeId("other"), LogIndex(3))
    await prepare_snapshot(
        file, manifest, cluster_id=CLUSTER, node_id=NODE, hard_state=state, prepared_dir=tmp_path / "incoming"
    )
    assert [entry.name for entry in (tmp_path / "incoming").iterdir()] == ["data.mdb"]
    storage = opened(tmp_path / "data")
    try:
        storage.commit(TurnWrite(hard_state=HardState(Term(7), NodeId("other"), LogIndex(0))))
        storage.install(tmp_path / "incoming")
        assert storage.hard_state() == HardState(Term(7), NodeId("other"), manifest.index)
        assert storage.position.rolling_hash == manifest.rolling_hash
        assert storage.term_at(manifest.index) == manifest.term
    finally:
        storage.close()
    with file.open("rb") as source:
        assert file_digest(source) == manifest.digest, "the received file is as it was"


async def test_a_refusal_in_the_process_is_one_here(made: tuple[Path, SnapshotManifest], tmp_path: Path) -> None:
    with pytest.raises(SnapshotRefused, match="cluster id in the manifest: 'c', expected 'd'"):
        await prepare_snapshot(
            *made,
            cluster_id=ClusterId("d"),
            node_id=NODE,
            hard_state=RECEIVER_STATE,
            prepared_dir=tmp_path / "incoming",
        )


def test_a_flipped_bit_anywhere_is_refused(made: tuple[Path, SnapshotManifest], tmp_path: Path) -> None:
    file, manifest = made
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201
    dice, sound = random.Random(seed), file.read_bytes()
    for _ in range(FLIPS):
        damaged = bytearray(sound)
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        (tmp_path / "damaged").write_bytes(damaged)
        assert refusal(asked(tmp_path / "damaged", manifest, tmp_path)).startswith("digest: ")


def test_a_damaged_file_whose_manifest_agrees_is_refused_or_harmless(
    made: tuple[Path, SnapshotManifest], tmp_path: Path
) -> None:
    """The digest is the sender's word. Damaged structure is found all the same, before lmdb follows it anywhere."""
    file, manifest = made
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201
    dice, sound = random.Random(seed), file.read_bytes()
    page_bytes, refused = 4096, 0
    for _ in range(FLIPS):
        damaged = bytearray(sound)
        page = dice.randrange(len(damaged) // page_bytes) * page_bytes
        damaged[page + dice.randrange(64)] ^= 1 << dice.randrange(8)  # page headers and tables of nodes
        target = tmp_path / "damaged"
        target.write_bytes(damaged)
        try:
            prepare(asked(target, manifest_of(target, manifest), tmp_path))
        except SnapshotRefused:
            refused += 1
            assert list((tmp_path / "incoming").iterdir()) == []
        else:
            shutil.rmtree(tmp_path / "tried", ignore_errors=True)
            storage = opened(tmp_path / "tried")
            storage.commit(TurnWrite(hard_state=RECEIVER_STATE))
            with contextlib.suppress(CorruptData):
                storage.install(tmp_path / "incoming")
                storage.state_hash()
            storage.close()
    assert refused > FLIPS // 2


@pytest.mark.parametrize("size", [0, 1, 4096, 50_000, -1])
def test_a_truncated_file_is_refused_by_its_size_or_its_structure(
    made: tuple[Path, SnapshotManifest], tmp_path: Path, size: int
) -> None:
    file, manifest = made
    (tmp_path / "short").write_bytes(file.read_bytes()[:size])
    assert refusal(asked(tmp_path / "short", manifest, tmp_path)).startswith("size in bytes: ")
    told = refusal(asked(tmp_path / "short", manifest_of(tmp_path / "short", manifest), tmp_path))
    assert "not a sound data file" in told if size else told == "size in bytes: 0"


def test_a_file_with_something_behind_it_is_refused(made: tuple[Path, SnapshotManifest], tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(made[0].read_bytes() + b"x")
    assert refusal(asked(tmp_path / "long", made[1], tmp_path)).startswith("size in bytes: ")


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ({"cluster_id": "d"}, "cluster id in the manifest: 'd', expected 'c'"),
        ({"index": LogIndex(41)}, "applied index: 40, expected 41"),
        ({"index": LogIndex(39)}, "applied index: 40, expected 39"),
        ({"term": Term(2)}, "term of the applied entry: 1, expected 2"),
        ({"term": Term(3)}, "term 3 is ahead of this node's 2"),
        ({"rolling_hash": b"x" * 16}, "rolling hash: "),
        ({"size_bytes": 4096}, "size in bytes: "),
        ({"digest": b"x" * 32}, "digest: "),
        ({"snapshot_id": "40-0123456789abcdef"}, "snapshot id: '40-0123456789abcdef', expected "),
    ],
)
def test_a_manifest_that_lies_is_refused(
    made: tuple[Path, SnapshotManifest], tmp_path: Path, lie: dict[str, Any], told: str
) -> None:
    manifest = replace(made[1], **lie)
    if "snapshot_id" not in lie:
        manifest = replace(manifest, snapshot_id=snapshot_id_of(manifest.index, manifest.digest))
    assert refusal(asked(made[0], manifest, tmp_path)).startswith(told)


def test_a_snapshot_of_another_cluster_is_refused_whatever_its_manifest_says(
    made: tuple[Path, SnapshotManifest], tmp_path: Path
) -> None:
    manifest = replace(made[1], cluster_id="d")
    elsewhere = replace(asked(made[0], manifest, tmp_path), cluster_id=ClusterId("d"))
    assert refusal(elsewhere) == "cluster_id: 'c', expected 'd'"


def put_meta(name: bytes, value: bytes) -> Callable[[Any, Any], None]:
    return lambda env, txn: txn.put(name, value, db=env.open_db(b"meta", txn=txn))


def drop(name: bytes, *, whole: bool = False) -> Callable[[Any, Any], None]:
    return lambda env, txn: txn.drop(env.open_db(name, txn=txn), delete=whole)


def renew(name: bytes, **flags: bool) -> Callable[[Any, Any], None]:
    def change(env: Any, txn: Any) -> None:
        txn.drop(env.open_db(name, txn=txn), delete=True)
        env.open_db(name, txn=txn, **flags)

    return change


def add_entry(name: bytes, key: bytes, value: bytes) -> Callable[[Any, Any], None]:
    return lambda env, txn: txn.put(key, value, db=env.open_db(name, txn=txn))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put_meta(b"format_version", b"2"), "format_version: '2', expected '3'"),
        (put_meta(b"engine", b"lmdb-1.0"), "engine: 'lmdb-1.0'"),
        (put_meta(b"group_id", b"2"), "group_id: '2', expected '1'"),
        (put_meta(b"cluster_id", b"\xff"), "cluster_id: "),
        (put_meta(b"header", b"short"), "header: 5 bytes"),
        (drop(b"meta"), "format_version: ''"),
        (drop(b"applied"), "no log entry at the applied index 40"),
        (
            add_entry(b"applied", (40).to_bytes(8, "big"), b"x" * 50),
            "the entry at the applied index 40 does not match its checksum",
        ),
        (add_entry(b"applied", (41).to_bytes(8, "big"), b"x" * 50), "number of log entries: 2, expected 1"),
        (add_entry(b"digests", (40).to_bytes(8, "big"), b"x" * 16), "rolling hash noted for the index: "),
        (add_entry(b"digests", (39).to_bytes(8, "big"), b"x" * 16), "number of digests: 2, expected 1"),
        (drop(b"sessions"), "number of sessions: 0, expected 20"),
        (drop(b"idle"), "number of idle marks: 0, expected 20"),
        (drop(b"changes"), "newest revision: 0, expected "),
        (add_entry(b"changes", b"\xff", b""), "a revision of 1 bytes"),
        (drop(b"results", whole=True), "names of databases: "),
        (lambda env, txn: env.open_db(b"other", txn=txn), "names of databases: "),
        (lambda _, txn: txn.put(b"\xff plain", b"value"), "names of databases: "),
        (renew(b"results", dupsort=True), "flags of database results: ['dupsort'], expected []"),
        (renew(b"idle", reverse_key=True), "flags of database idle: ['reverse_key'], expected []"),
    ],
)
def test_a_sound_file_with_other_content_is_refused(
    made: tuple[Path, SnapshotManifest], tmp_path: Path, change: Callable[[Any, Any], None], told: str
) -> None:
    assert told in refusal(a_forgery(made, tmp_path, change))


def test_a_file_that_is_not_there_is_an_error_of_the_system(
    made: tuple[Path, SnapshotManifest], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        prepare(asked(tmp_path / "nothing", made[1], tmp_path))


@pytest.mark.parametrize("limit_bytes", [0, 100_000, -1])
async def test_a_full_disk_is_told_and_nothing_is_left(
    made: tuple[Path, SnapshotManifest], tmp_path: Path, limit_bytes: int
) -> None:
    """The last limit has room for the copy but not for what this node adds."""
    file, manifest = made
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit_bytes = manifest.size_bytes if limit_bytes < 0 else limit_bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limits[1]))
    try:
        with pytest.raises(DiskFull):
            await prepare_snapshot(
                file,
                manifest,
                cluster_id=CLUSTER,
                node_id=NODE,
                hard_state=RECEIVER_STATE,
                prepared_dir=tmp_path / "incoming",
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "incoming").iterdir()) == []
