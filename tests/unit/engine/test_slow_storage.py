"""Heartbeats and reads on the loop go on while a thread changes the data file, however long that takes.

The slow part is held open by the test until enough has happened on the loop: three engines share this one.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replicator.config.timing import RaftTiming
from replicator.model.ids import ClusterId, NodeId
from replicator.storage import make_snapshot, prepare_snapshot, snapshot_file
from replicator.storage.data_directory import locking as directory
from tests.support.commands import put
from tests.support.engines import EngineNet
from tests.support.links import until
from tests.support.replicas import NAMES

A, B, C = NAMES[:3]
CALM = RaftTiming(heartbeat_s=0.05, election_timeout_min_s=0.3, election_timeout_max_s=6.0)
BIG_VALUE = b"x" * (256 << 10)
LONG_S = 60.0
READS = 300
HEARTBEATS = 3


class Heard(EngineNet):
    """Counts the frames that each node has sent."""

    def carry(self, sender: NodeId, receiver: NodeId, payload: bytes) -> bool:
        self.frames[sender] = self.frames.get(sender, 0) + 1
        return super().carry(sender, receiver, payload)

    frames: dict[NodeId, int]


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[Heard]:
    net = Heard(tmp_path, [A, B, C], timing=CALM)
    net.frames = {}
    await net.start()
    await until(lambda: net.leader() is not None and all(net[name].status().leader_id for name in net.names))
    yield net
    await net.stop()


def leader_of(net: EngineNet) -> NodeId:
    leader = net.leader()
    assert leader is not None
    return leader


async def the_loop_goes_on(net: Heard, reads_at: NodeId, key: bytes, value: bytes) -> None:
    """The leader sends heartbeats, and a node answers reads."""
    leader, storage = leader_of(net), net.nodes[reads_at].storage
    before, reads = net.frames[leader], 0
    while reads < READS or net.frames[leader] < before + HEARTBEATS * (len(net.names) - 1):
        found, _, _ = storage.get(key)
        assert found is not None
        assert found.value == value
        assert storage.hard_state().term > 0
        assert storage.data_bytes() > 0
        reads += 1
        await asyncio.sleep(0.001)


async def test_a_resize_that_waits_for_a_long_reader_holds_up_nothing_on_the_loop(three: Heard) -> None:
    leader = leader_of(three)
    environment = three.nodes[leader].storage._environment
    await three[leader].propose(put(b"k", b"v"), timeout_s=LONG_S)
    may_end, is_in = threading.Event(), threading.Event()

    def read_on() -> None:
        with environment.long_read():
            is_in.set()
            assert may_end.wait(LONG_S)

    reading = asyncio.create_task(asyncio.to_thread(read_on))
    await until(is_in.is_set)
    writes: list[asyncio.Task[object]] = []
    try:
        while not environment.gate.exclusive_wanted:
            key = b"big/%d" % len(writes)
            writes.append(asyncio.create_task(three[leader].propose(put(key, BIG_VALUE), timeout_s=LONG_S)))
            await asyncio.wait(writes, timeout=0.05)
        before = three.nodes[leader].disk.commits
        await the_loop_goes_on(three, leader, b"k", b"v")
        assert environment.gate.exclusive_wanted, "the resize was held open all the time"
    finally:
        may_end.set()
    await reading
    await asyncio.gather(*writes, return_exceptions=True)
    await until(lambda: three.nodes[leader].disk.commits > before)


async def test_an_install_that_waits_for_the_disk_holds_up_nothing_on_the_loop(
    three: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = leader_of(three)
    away, other = (name for name in three.names if name != leader)
    storage = three.nodes[away].storage
    outcome = await three[leader].propose(put(b"k", b"old"), timeout_s=LONG_S)
    await until(lambda: storage.position.applied_index >= outcome.index)
    three.unlink(leader, away)
    three.unlink(other, away)
    await three[leader].propose(put(b"k", b"new"), timeout_s=LONG_S)
    await three[leader].wait_stored(timeout_s=LONG_S)
    manifest = await make_snapshot(three.nodes[leader].storage.path, tmp_path / "made")
    prepared = storage.path / "incoming" / "prepared"
    await prepare_snapshot(
        snapshot_file(tmp_path / "made", manifest.snapshot_id),
        manifest,
        cluster_id=ClusterId("c"),
        node_id=away,
        hard_state=storage.hard_state(),
        prepared_dir=prepared,
    )
    sync_directory = directory.sync_directory
    may_end, is_in = threading.Event(), threading.Event()

    def slow(path: Path) -> None:
        if path == storage.path:
            is_in.set()
            assert may_end.wait(LONG_S)
        sync_directory(path)

    monkeypatch.setattr(directory, "sync_directory", slow)
    installing = asyncio.create_task(three[away]._install(prepared, manifest))
    try:
        await until(is_in.is_set)
        await the_loop_goes_on(three, away, b"k", b"old")
        page = await asyncio.to_thread(storage.scan, b"", None, keys_max=10, bytes_max=1 << 20)
        assert [kv.value for kv in page.kvs] == [b"old"]
    finally:
        may_end.set()
    assert await installing
    found, _, applied_index = storage.get(b"k")
    assert found is not None
    assert (found.value, applied_index) == (b"new", manifest.index)
    three.link(leader, away)
    outcome = await three[leader].propose(put(b"k", b"newest"), timeout_s=LONG_S)
    await until(lambda: storage.position.applied_index >= outcome.index)
