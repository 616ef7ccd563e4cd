"""Snapshot files between transports over real sockets: whole, resumed, refused, bounded, beside the links."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from benchmarks.delay_proxy import DelayProxy
from replicator.model.ids import NodeId
from replicator.transport.ports import SNAPSHOT_CHUNK_BYTES, FetchFailure, SnapshotUnavailable
from replicator.v1 import peer_pb2
from tests.support.links import QUICK, Links, RecordingSink, peers_of, until
from tests.support.snapshots import (
    ID,
    MIB,
    Shelf,
    a_chunk,
    a_client,
    a_hand_driven_source,
    a_server,
    fetch,
    some_bytes,
)

N1, N2 = NodeId("n1"), NodeId("n2")
IMPATIENT = replace(QUICK, snapshot_silence_s=0.5)
Context = grpc.aio.ServicerContext


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    async with Links() as running:
        yield running
    await until(lambda: not any(t.name.startswith("snapshot-") for t in threading.enumerate()))


async def test_a_file_arrives_as_it_was_sent(links: Links, tmp_path: Path) -> None:
    """Of 20 MiB and a bit, so that the last chunk is a short one."""
    data = some_bytes(20 * MIB + 17)
    one = await a_server(links, Shelf().put(tmp_path, data))
    two = await a_client(links, one.bound_port)
    await fetch(two, tmp_path / "got", len(data))
    assert (tmp_path / "got").read_bytes() == data


async def test_the_node_with_the_smaller_id_can_fetch_from_the_greater(links: Links, tmp_path: Path) -> None:
    """Who dials the link does not matter."""
    data = some_bytes(MIB)
    two = await a_server(links, Shelf().put(tmp_path, data), peers_of("n2", {"n1": 1}))
    one = await links.start(peers_of("n1", {"n2": two.bound_port}), RecordingSink())
    await one.fetch_snapshot(N2, ID, target=tmp_path / "got", size_bytes=len(data), timeout_s=30)
    assert (tmp_path / "got").read_bytes() == data


@pytest.mark.parametrize("size_bytes", [0, 1, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_BYTES + 1])
async def test_sizes_about_a_chunk_arrive(links: Links, tmp_path: Path, size_bytes: int) -> None:
    data = some_bytes(size_bytes)
    one = await a_server(links, Shelf().put(tmp_path, data))
    two = await a_client(links, one.bound_port)
    await fetch(two, tmp_path / "got", size_bytes)
    assert (tmp_path / "got").read_bytes() == data


async def test_only_what_is_missing_is_asked_for(links: Links, tmp_path: Path) -> None:
    data, offsets = some_bytes(MIB), []

    async def answer(request: peer_pb2.FetchSnapshotRequest, context: "Context[bytes, bytes]") -> None:
        offsets.append(request.offset)
        await context.write(a_chunk(data[request.offset :], request.offset))

    target = tmp_path / "got"
    target.write_bytes(data[:300_001])
    async with a_hand_driven_source(answer) as port:
        two = await a_client(links, port)
        await fetch(two, target, len(data))
        await fetch(two, target, len(data))
        assert target.read_bytes() == data
        assert offsets == [300_001], "a file that is whole is asked for no more"
        await two.stop(0)


async def test_a_target_that_is_too_long_is_begun_anew(links: Links, tmp_path: Path) -> None:
    data = some_bytes(MIB)
    one = await a_server(links, Shelf().put(tmp_path, data))
    two = await a_client(links, one.bound_port)
    (tmp_path / "got").write_bytes(bytes(2 * MIB))
    await fetch(two, tmp_path / "got", len(data))
    assert (tmp_path / "got").read_bytes() == data


async def test_a_stream_cut_half_way_is_resumed(links: Links, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The path is cut while bytes flow, and another one appears under the same address."""
    caplog.set_level(logging.INFO, "replicator.transport")
    data = some_bytes(8 * MIB)
    target = tmp_path / "got"
    one = await a_server(links, Shelf().put(tmp_path, data), peers_of("n1", {"n2": 1}, snapshot_bytes_per_s=4 * MIB))
    proxy = DelayProxy(one.bound_port)
    async with proxy:
        two = await a_client(links, proxy.port)
        fetching = asyncio.create_task(fetch(two, target, len(data)))
        await until(lambda: target.exists() and target.stat().st_size >= 2 * MIB)
        port = proxy.port
    held_bytes = target.stat().st_size
    assert held_bytes < len(data)
    await _serve_again(links, port, one.bound_port)
    await fetching
    assert target.read_bytes() == data
    assert "broke off at byte" in caplog.text
    begun = [int(r.message.rpartition("from=")[2]) for r in caplog.records if r.message.startswith("sent snapshot=")]
    assert begun[-1] >= held_bytes, "what was held was not sent again"


async def _serve_again(links: Links, port: int, target_port: int) -> None:
    """Joins `port` to `target_port`, as a plain relay."""

    async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()

    async def accepted(near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far_in, far_out = await asyncio.open_connection("127.0.0.1", target_port)
        await asyncio.gather(pipe(near_in, far_out), pipe(far_in, near_out))

    relay = await asyncio.start_server(accepted, "127.0.0.1", port)
    links.callback(relay.close)


async def test_a_node_that_restarts_is_asked_for_the_rest(links: Links, tmp_path: Path) -> None:
    data = some_bytes(8 * MIB)
    target = tmp_path / "got"
    shelf = Shelf().put(tmp_path, data)
    one = await a_server(links, shelf, peers_of("n1", {"n2": 1}, snapshot_bytes_per_s=4 * MIB))
    two = await a_client(links, one.bound_port)
    fetching = asyncio.create_task(fetch(two, target, len(data)))
    await until(lambda: target.exists() and target.stat().st_size >= 2 * MIB)
    await one.stop(0.2)
    assert not fetching.done()
    await a_server(links, shelf, peers_of("n1", {"n2": 1}, listen=f"127.0.0.1:{one.bound_port}"))
    await fetching
    assert target.read_bytes() == data


async def test_a_file_deleted_while_it_is_sent_still_arrives(links: Links, tmp_path: Path) -> None:
    data = some_bytes(4 * MIB)
    shelf = Shelf().put(tmp_path, data)
    one = await a_server(links, shelf, peers_of("n1", {"n2": 1}, snapshot_bytes_per_s=4 * MIB))
    two = await a_client(links, one.bound_port)
    target = tmp_path / "got"
    fetching = asyncio.create_task(fetch(two, target, len(data)))
    await until(lambda: target.exists() and target.stat().st_size > 0)
    shelf.files.pop(ID).unlink()
    await fetching
    assert target.read_bytes() == data


def _flipped(chunk: bytes) -> bytes:
    """The same chunk with one bit of its data changed on the way."""
    parsed = peer_pb2.LinkMessage.FromString(chunk)
    data = bytearray(parsed.chunk.data)
    data[len(data) // 2] ^= 4
    parsed.chunk.data = bytes(data)
    return parsed.SerializeToString()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_flipped, "checksum differs"),
        (lambda _: a_chunk(b"elsewhere", 1), "at offset 1, the next is 262144"),
        (lambda _: a_chunk(b"", SNAPSHOT_CHUNK_BYTES), "chunk of 0 bytes"),
        (lambda _: b"\xff\xff\xff", "malformed chunk of 3 bytes"),
    ],
)
async def test_a_chunk_spoilt_on_the_way_is_refused_and_asked_for_again(
    links: Links, tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Any, why: str
) -> None:
    caplog.set_level(logging.INFO, "replicator.transport")
    data = some_bytes(2 * SNAPSHOT_CHUNK_BYTES)
    offsets: list[int] = []

    async def answer(request: peer_pb2.FetchSnapshotRequest, context: "Context[bytes, bytes]") -> None:
        offsets.append(request.offset)
        for start in range(request.offset, len(data), SNAPSHOT_CHUNK_BYTES):
            chunk = a_chunk(data[start : start + SNAPSHOT_CHUNK_BYTES], start)
            await context.write(spoil(chunk) if start > 0 and len(offsets) < 3 else chunk)

    async with a_hand_driven_source(answer) as port:
        two = await a_client(links, port)
        await fetch(two, tmp_path / "got", len(data))
        await two.stop(0)
    assert (tmp_path / "got").read_bytes() == data
    assert offsets == [0, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_BYTES]
    assert why in caplog.text


async def test_a_peer_that_only_sends_spoilt_chunks_is_given_up(links: Links, tmp_path: Path) -> None:
    """Bytes that fail their check are no sign of life, and never reach the file."""
    data = some_bytes(SNAPSHOT_CHUNK_BYTES)

    async def answer(_: peer_pb2.FetchSnapshotRequest, context: "Context[bytes, bytes]") -> None:
        await context.write(_flipped(a_chunk(data, 0)))

    async with a_hand_driven_source(answer) as port:
        two = await a_client(links, port, timers=IMPATIENT)
        with pytest.raises(SnapshotUnavailable, match=r"TIMED_OUT: 0 of 262144 bytes .*checksum differs") as error:
            await fetch(two, tmp_path / "got", len(data))
        await two.stop(0)
    assert error.value.reason is FetchFailure.TIMED_OUT
    assert (tmp_path / "got").read_bytes() == b""


@pytest.mark.parametrize("announced", [MIB - 1, MIB + 1, MIB // 2])
async def test_a_file_of_another_size_than_announced_is_deleted(links: Links, tmp_path: Path, announced: int) -> None:
    one = await a_server(links, Shelf().put(tmp_path, some_bytes(MIB)))
    two = await a_client(links, one.bound_port)
    with pytest.raises(SnapshotUnavailable, match="WRONG_SIZE"):
        await fetch(two, tmp_path / "got", announced)
    assert not (tmp_path / "got").exists()


async def test_more_bytes_held_than_the_source_has_is_the_wrong_size(links: Links, tmp_path: Path) -> None:
    one = await a_server(links, Shelf().put(tmp_path, some_bytes(MIB)))
    two = await a_client(links, one.bound_port)
    (tmp_path / "got").write_bytes(bytes(MIB + 5))
    with pytest.raises(SnapshotUnavailable, match="WRONG_SIZE: OUT_OF_RANGE: offset 1048581 is beyond"):
        await fetch(two, tmp_path / "got", 2 * MIB)
    assert not (tmp_path / "got").exists()


async def test_a_snapshot_that_is_not_held_is_gone(links: Links, tmp_path: Path) -> None:
    shelf = Shelf()
    one = await a_server(links, shelf)
    two = await a_client(links, one.bound_port)
    with pytest.raises(SnapshotUnavailable, match="GONE: NOT_FOUND: no snapshot '7-00000000000000aa' is held here"):
        await fetch(two, tmp_path / "got", 5)
    shelf.files[ID] = tmp_path / "deleted a moment ago"
    with pytest.raises(SnapshotUnavailable, match=r"GONE: NOT_FOUND: .* no longer held"):
        await fetch(two, tmp_path / "got", 5)


async def test_a_peer_that_does_not_answer_is_out_of_time(links: Links, tmp_path: Path) -> None:
    """Whichever of the two bounds comes first."""
    two = await a_client(links, 1, timers=IMPATIENT)
    with pytest.raises(SnapshotUnavailable, match=r"TIMED_OUT: .*UNAVAILABLE"):
        await fetch(two, tmp_path / "got", 1)
    three = await a_client(links, 1)
    with pytest.raises(SnapshotUnavailable, match="TIMED_OUT"):
        await fetch(three, tmp_path / "got", 1, timeout_s=0.2)


async def test_a_transfer_may_take_longer_than_silence_is_borne(links: Links, tmp_path: Path) -> None:
    """Each chunk puts the end off, on both sides."""
    timers = replace(QUICK, snapshot_silence_s=1.0)
    shelf = Shelf().put(tmp_path, some_bytes(3 * MIB))
    one = await a_server(links, shelf, peers_of("n1", {"n2": 1}, snapshot_bytes_per_s=MIB, timers=timers))
    two = await a_client(links, one.bound_port, timers=timers)
    await fetch(two, tmp_path / "got", 3 * MIB)
    assert len(shelf.asked) == 1, "in one stream"


async def test_a_peer_that_goes_silent_half_way_is_given_up_and_what_came_is_kept(links: Links, tmp_path: Path) -> None:
    data = some_bytes(1000)

    async def answer(request: peer_pb2.FetchSnapshotRequest, context: "Context[bytes, bytes]") -> None:
        if request.offset == 0:
            await context.write(a_chunk(data, 0))
        await asyncio.Event().wait()

    async with a_hand_driven_source(answer) as port:
        two = await a_client(links, port, timers=IMPATIENT)
        with pytest.raises(SnapshotUnavailable, match="TIMED_OUT: 1000 of 2000 bytes are here"):
            await fetch(two, tmp_path / "got", 2000)
        await two.stop(0)
    assert (tmp_path / "got").read_bytes() == data


async def test_a_disk_that_refuses_is_named(links: Links, tmp_path: Path) -> None:
    one = await a_server(links, Shelf().put(tmp_path, some_bytes(MIB)))
    two = await a_client(links, one.bound_port)
    with pytest.raises(SnapshotUnavailable, match=r"DISK: .*/absent/got: No such file or directory"):
        await fetch(two, tmp_path / "absent" / "got", MIB)
    full = tmp_path / "full"
    full.symlink_to("/dev/full")  # a link: a failed test may delete what it fetched
    with pytest.raises(SnapshotUnavailable, match=r"DISK: .*/full: No space left on device"):
        await fetch(two, full, MIB)
