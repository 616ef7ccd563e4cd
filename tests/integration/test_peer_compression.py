"""Compressed links over real sockets: agreed in the handshake, in order, counted, and closed to what was not agreed."""

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import zstandard

import replicator
from replicator.dev import LocalCluster, plan_cluster
from replicator.model.ids import NodeId
from replicator.transport.links.frame_codec import ON_LOOP_BYTES_MAX
from replicator.transport.ports import FRAME_BYTES_MAX, SNAPSHOT_CHUNK_BYTES
from replicator.v1 import peer_pb2
from tests.support.links import GROUP_SECRET, HandDriven, Links, RecordingSink, is_linked, peers_of, until
from tests.support.real_nodes import http_get
from tests.support.snapshots import (
    HandDrivenFetch,
    Shelf,
    a_chunk,
    a_client,
    a_hand_driven_source,
    a_request,
    a_server,
    fetch,
    some_bytes,
)

Context = grpc.aio.ServicerContext
N1, N2 = NodeId("n1"), NodeId("n2")
ZSTD = peer_pb2.CODEC_ZSTD
TEXT = b"an order of a customer in a city that is shipped; " * 100


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    async with Links() as running:
        yield running


def packed(data: bytes, size_bytes: int | None = None, codec: int = ZSTD) -> peer_pb2.LinkMessage:
    smaller = zstandard.ZstdCompressor(level=1).compress(data)
    compressed = peer_pb2.CompressedFrame(size_bytes=size_bytes or len(data), data=smaller)
    compressed.codec = codec  # type: ignore[assignment]  # one that this release does not know, too
    return peer_pb2.LinkMessage(compressed=compressed)


async def test_frames_of_all_sizes_arrive_in_order_and_what_was_saved_is_counted(links: Links) -> None:
    one, sink_1, two, sink_2 = await links.pair(compression="on")
    dice = random.Random(3)
    frames = [bytes(ON_LOOP_BYTES_MAX + 1), b"", b"x", TEXT, dice.randbytes(3000), TEXT * 100, b"y" * 511, TEXT]
    frames += [dice.choice((TEXT, b"heartbeat", dice.randbytes(600))) for _ in range(500)] + [bytes(FRAME_BYTES_MAX)]
    for frame in frames:
        assert one.send(N2, frame)
        assert two.send(N1, frame)
    await until(lambda: len(sink_1.frames.get("n2", [])) == len(sink_2.frames.get("n1", [])) == len(frames))

    assert sink_1.frames["n2"] == sink_2.frames["n1"] == frames
    sent, received = one.links()[N2], two.links()[N1]
    assert sent.bytes_sent + sent.bytes_saved == sum(map(len, frames))
    assert sent.bytes_saved > FRAME_BYTES_MAX
    assert sent.bytes_sent == received.bytes_received


@pytest.mark.parametrize("changes", [{}, {"compression": "off"}])
async def test_on_loopback_and_where_it_is_off_nothing_is_compressed(links: Links, changes: dict[str, str]) -> None:
    one, _, _, sink_2 = await links.pair(**changes)
    assert one.send(N2, TEXT)
    await until(lambda: sink_2.frames.get("n1") == [TEXT])
    assert (one.links()[N2].bytes_sent, one.links()[N2].bytes_saved) == (len(TEXT), 0)


async def test_a_node_that_takes_nothing_compressed_is_sent_nothing_compressed(links: Links) -> None:
    """So nodes may be given the setting one after another, and one of an older release is linked."""
    sink_1, sink_2 = RecordingSink(), RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}, compression="on"), sink_1)
    two = await links.start(peers_of("n2", {"n1": one.bound_port}, compression="off"), sink_2)
    await until(lambda: is_linked(one, "n2") and is_linked(two, "n1"))
    assert one.send(N2, TEXT)
    assert two.send(N1, TEXT)
    await until(lambda: sink_1.frames.get("n2") == sink_2.frames.get("n1") == [TEXT])
    assert one.links()[N2].bytes_saved == two.links()[N1].bytes_saved == 0


@pytest.mark.parametrize("codecs", [[ZSTD], [77, ZSTD, 78], [77], []])
async def test_codecs_that_are_unknown_here_are_ignored(links: Links, codecs: list[int]) -> None:
    one = await links.start(peers_of("n1", {"n2": 1}, compression="on"), RecordingSink())
    async with HandDriven(one.bound_port) as peer:
        await peer.shake_hands(codecs=codecs)
        await until(lambda: is_linked(one, "n2"))
        assert one.send(N2, TEXT)
        heard = await peer.hear()
        assert heard.WhichOneof("body") == ("compressed" if ZSTD in codecs else "frame")


async def test_the_secret_of_the_group_travels_uncompressed(links: Links) -> None:
    one = await links.start(peers_of("n1", {"n2": 1}, compression="on"), RecordingSink())
    async with HandDriven(one.bound_port) as peer:
        await peer.shake_hands(codecs=[ZSTD])
        await until(lambda: is_linked(one, "n2"))
        for frame in (TEXT + GROUP_SECRET, TEXT):
            assert one.send(N2, frame)
        assert (await peer.hear()).frame == TEXT + GROUP_SECRET
        assert (await peer.hear()).HasField("compressed")


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (packed(bytes(FRAME_BYTES_MAX + 1)), "at most 8388608"),
        (packed(bytes(1 << 28), size_bytes=1000), "bytes that would be 1000"),
        (packed(bytes(1 << 28), size_bytes=FRAME_BYTES_MAX), "268435456 by its data"),
        (packed(TEXT, codec=77), "codec 77"),
        (peer_pb2.LinkMessage(compressed=peer_pb2.CompressedFrame()), "codec 0"),
    ],
)
async def test_a_frame_that_is_not_what_it_says_ends_the_link_and_reaches_nobody(
    links: Links, caplog: pytest.LogCaptureFixture, message: peer_pb2.LinkMessage, told: str
) -> None:
    caplog.set_level("INFO")
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}, compression="on"), sink)
    async with HandDriven(one.bound_port) as peer:
        await peer.shake_hands(codecs=[ZSTD])
        await peer.say(packed(TEXT))
        await until(lambda: sink.frames.get("n2") == [TEXT])
        await peer.say(message)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the link may have ended already
            await peer.say(packed(TEXT))
        await until(lambda: not is_linked(one, "n2"))
    assert sink.frames["n2"] == [TEXT]
    assert told in caplog.text


async def test_a_compressed_frame_that_nobody_asked_for_ends_the_link(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}), sink)
    async with HandDriven(one.bound_port) as peer:
        await peer.shake_hands()
        await peer.say(packed(TEXT))
        await until(lambda: [kind for kind, _, _ in sink.calls] == ["up", "down"])
    assert sink.frames == {}
    assert "did not offer to take" in caplog.text


async def test_a_snapshot_arrives_as_it_was_sent(links: Links, tmp_path: Path) -> None:
    data = TEXT * 500 + some_bytes(3 << 20) + bytes(1 << 20) + TEXT
    shelf = Shelf().put(tmp_path, data)
    one = await a_server(links, shelf, peers_of("n1", {"n2": 1}, compression="on"))
    two = await a_client(links, one.bound_port, compression="on")
    (tmp_path / "got").write_bytes(data[:300_001])
    await fetch(two, tmp_path / "got", len(data))
    assert (tmp_path / "got").read_bytes() == data


async def test_a_compressed_chunk_that_nobody_asked_for_is_not_written(links: Links, tmp_path: Path) -> None:
    tries = 0

    async def answer(request: peer_pb2.FetchSnapshotRequest, context: "Context[bytes, bytes]") -> None:
        nonlocal tries
        tries += 1
        chunk = peer_pb2.LinkMessage.FromString(a_chunk(TEXT[request.offset :], request.offset))
        if tries == 1:
            chunk.chunk.data = zstandard.ZstdCompressor(level=1).compress(TEXT)
            chunk.chunk.codec, chunk.chunk.size_bytes = ZSTD, len(TEXT)
        await context.write(chunk.SerializeToString())

    async with a_hand_driven_source(answer) as port:
        two = await a_client(links, port)
        await fetch(two, tmp_path / "got", len(TEXT))
    assert (tries, (tmp_path / "got").read_bytes()) == (2, TEXT)


@pytest.mark.parametrize("codecs", [[ZSTD], []])
async def test_chunks_are_compressed_for_who_takes_them(links: Links, tmp_path: Path, codecs: list[int]) -> None:
    shelf = Shelf().put(tmp_path, bytes(SNAPSHOT_CHUNK_BYTES))
    one = await a_server(links, shelf, peers_of("n1", {"n2": 1}, compression="on"))
    async with HandDrivenFetch(one.bound_port, a_request(), codecs=codecs) as peer:
        chunk = await peer.chunk()
    assert (len(chunk.data) < 1000) is (ZSTD in codecs)
    assert (chunk.codec, chunk.size_bytes) == ((ZSTD, SNAPSHOT_CHUNK_BYTES) if codecs else (0, 0))


async def test_a_chunk_that_is_not_what_it_says_is_not_written(links: Links, tmp_path: Path) -> None:
    """The stream is given up, and the next one brings what was missing."""
    data, tries = TEXT, 0

    async def answer(request: peer_pb2.FetchSnapshotRequest, context: "Context[bytes, bytes]") -> None:
        nonlocal tries
        tries += 1
        chunk = peer_pb2.LinkMessage.FromString(a_chunk(data[request.offset :], request.offset))
        if tries < 4:
            bomb = bytes(1 << 26) if tries == 1 else data
            chunk.chunk.data = zstandard.ZstdCompressor(level=1).compress(bomb)
            chunk.chunk.codec, chunk.chunk.size_bytes = ZSTD, (len(data), len(data) - 1, 1 << 31)[tries - 1]
        await context.write(chunk.SerializeToString())

    async with a_hand_driven_source(answer) as port:
        two = await a_client(links, port, compression="on")
        await fetch(two, tmp_path / "got", len(data))
    assert (tmp_path / "got").read_bytes() == data
    assert tries == 4


@pytest.mark.process
async def test_real_nodes_count_what_they_save_by_peer_and_region(tmp_path: Path) -> None:
    plan = replace(plan_cluster(tmp_path, ("eu", "us", "ap")), more_toml='[links]\ncompression = "on"\n')
    async with LocalCluster(plan) as cluster, replicator.connect(cluster.endpoints(), timeout_s=60.0) as client:
        leader = await cluster.leader()
        await client.put(b"an order", TEXT)
        admin = cluster.nodes[leader].plan.admin
        saved: dict[str, float] = {}
        while len(saved) < 2 or min(saved.values()) < len(TEXT) / 2:  # gauges and counters follow once a second
            _, body = await http_get(admin, "/metrics")
            found = re.findall(r"replicator_transport_bytes_saved_total\{(.*)\} (.*)", body)
            saved = {labels: float(value) for labels, value in found}
        others = {node for node in cluster.nodes if node != leader}
        assert saved.keys() == {f'peer="{node}",peer_region="{node.split("-")[0]}"' for node in others}
        for endpoint in cluster.endpoints():
            async with replicator.connect([endpoint], timeout_s=60.0) as one:
                assert (await one.get(b"an order", consistency=replicator.LINEARIZABLE)).value == TEXT
