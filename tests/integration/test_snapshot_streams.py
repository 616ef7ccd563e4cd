"""Who may fetch a snapshot, how many at once, what is left when a transfer ends early, and what links notice of it."""

import asyncio
import logging
import random
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from benchmarks.delay_proxy import DelayProxy
from replicator.model.ids import NodeId
from replicator.transport.handshake.proof import Secrets
from replicator.transport.peer_transport import PeerTransport
from replicator.transport.ports import SNAPSHOT_STREAMS_MAX, FetchFailure, SnapshotUnavailable
from replicator.transport.streams import FETCH_METHOD
from replicator.v1 import peer_pb2
from tests.integration.test_peer_refusals import certificate
from tests.support.authority import Authority
from tests.support.links import (
    QUICK,
    HandDriven,
    Links,
    RecordingSink,
    RunsInMemory,
    a_hello,
    is_linked,
    peers_of,
    until,
)
from tests.support.snapshots import (
    ID,
    MIB,
    HandDrivenFetch,
    Shelf,
    a_client,
    a_request,
    a_server,
    fetch,
    open_files,
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


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "", ".", "a" * 129, "a\0b", "a\n"])
async def test_an_id_that_is_none_never_reaches_the_source(links: Links, name: str) -> None:
    shelf = Shelf()
    one = await a_server(links, shelf)
    async with HandDrivenFetch(one.bound_port, a_request(name)) as fetch:
        assert (await fetch.refusal()).code() is grpc.StatusCode.NOT_FOUND
    assert shelf.asked == []


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ({"cluster_id": "warehouse"}, "CLUSTER_MISMATCH"),
        ({"node_id": "n7"}, "NOT_A_MEMBER"),
        ({"node_id": "n1"}, "DUPLICATE"),
        ({"peer_id": "n0"}, "WRONG_NODE"),
        ({"protocol_version": 9, "protocol_version_min": 9}, "PROTOCOL_VERSION"),
    ],
)
async def test_a_node_that_is_refused_a_link_gets_nothing(
    links: Links, tmp_path: Path, caplog: pytest.LogCaptureFixture, hello: dict[str, Any], reason: str
) -> None:
    shelf = Shelf().put(tmp_path, some_bytes(MIB))
    one = await a_server(links, shelf)
    async with HandDrivenFetch(one.bound_port, a_request(), **hello) as unknown:
        assert unknown.welcome.refusal.reason == reason
    assert shelf.asked == []
    assert sum(r.message.startswith("a snapshot is refused to peer=") for r in caplog.records) == 1


async def test_a_request_without_a_proof_gets_nothing(links: Links, tmp_path: Path) -> None:
    shelf = Shelf().put(tmp_path, some_bytes(MIB))
    one = await a_server(links, shelf)
    async with HandDriven(one.bound_port, method=FETCH_METHOD) as peer:
        await peer.say(a_hello())
        welcome = (await peer.hear()).welcome
        await peer.prove(a_hello(), welcome, Secrets(b"guessed", b"guessed"))
        await peer.say(a_request())
        assert (await peer.hear()).refusal.reason == "NOT_PROVEN"
    assert shelf.asked == []


@pytest.mark.parametrize("message", [b"\xff\xff\xff\xff", peer_pb2.LinkMessage(frame=b"x").SerializeToString()])
async def test_a_malformed_request_is_turned_away(links: Links, message: bytes) -> None:
    one = await a_server(links, Shelf())
    async with HandDriven(one.bound_port, method=FETCH_METHOD) as peer:
        await peer.shake_hands()
        await peer.call.write(message)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await peer.call.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_node_of_another_cluster_is_refused_for_good(links: Links, tmp_path: Path) -> None:
    one = await a_server(links, Shelf().put(tmp_path, b"x"), peers_of("n1", {"n3": 1}))
    two = await a_client(links, one.bound_port)
    with pytest.raises(SnapshotUnavailable, match="REFUSED: NOT_A_MEMBER") as error:
        await fetch(two, tmp_path / "got", 1)
    assert error.value.reason is FetchFailure.REFUSED


async def test_a_node_without_a_source_refuses(links: Links, tmp_path: Path) -> None:
    one = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    two = await a_client(links, one.bound_port)
    with pytest.raises(SnapshotUnavailable, match="REFUSED: UNIMPLEMENTED"):
        await fetch(two, tmp_path / "got", 1)


async def test_a_node_that_no_membership_names_has_nothing_to_fetch(links: Links, tmp_path: Path) -> None:
    two = await a_client(links, 1)
    with pytest.raises(SnapshotUnavailable, match="GONE: node n9 is not known here"):
        await two.fetch_snapshot(NodeId("n9"), ID, target=tmp_path / "got", size_bytes=1, timeout_s=1)


async def test_no_more_streams_than_the_bound_and_a_place_is_free_again(links: Links, tmp_path: Path) -> None:
    shelf = Shelf().put(tmp_path, some_bytes(4 * MIB))
    one = await a_server(links, shelf)
    holders = [HandDrivenFetch(one.bound_port, a_request()) for _ in range(SNAPSHOT_STREAMS_MAX)]
    try:
        for holder in holders:
            await holder.__aenter__()
            assert (await holder.chunk()).offset == 0
        async with HandDrivenFetch(one.bound_port, a_request()) as late:
            assert (await late.refusal()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        two = await a_client(links, one.bound_port)
        fetching = asyncio.create_task(fetch(two, tmp_path / "got", 4 * MIB))
        await until(lambda: len(shelf.asked) >= SNAPSHOT_STREAMS_MAX + 3)
        assert not fetching.done(), "it waits for a place"
    finally:
        for holder in holders:
            await holder.__aexit__()
    await fetching
    assert (tmp_path / "got").stat().st_size == 4 * MIB


async def test_a_receiver_that_stops_reading_loses_its_place(links: Links, tmp_path: Path) -> None:
    shelf = Shelf().put(tmp_path, some_bytes(8 * MIB))
    one = await a_server(links, shelf, peers_of("n1", {"n2": 1}, timers=IMPATIENT))
    async with HandDrivenFetch(one.bound_port, a_request()) as stalled:
        assert (await stalled.chunk()).offset == 0
        assert open_files(shelf.files[ID]) == 1
        await until(lambda: open_files(shelf.files[ID]) == 0)
        assert (await stalled.refusal()).code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_receiver_that_leaves_frees_the_file(links: Links, tmp_path: Path) -> None:
    shelf = Shelf().put(tmp_path, some_bytes(8 * MIB))
    one = await a_server(links, shelf)
    async with HandDrivenFetch(one.bound_port, a_request()) as leaving:
        await leaving.chunk()
        assert open_files(shelf.files[ID]) == 1
    await until(lambda: open_files(shelf.files[ID]) == 0)


async def test_a_cancelled_fetch_leaves_nothing_open_and_can_be_taken_up_again(links: Links, tmp_path: Path) -> None:
    data = some_bytes(4 * MIB)
    shelf = Shelf().put(tmp_path, data)
    one = await a_server(links, shelf, peers_of("n1", {"n2": 1}, snapshot_bytes_per_s=4 * MIB))
    two = await a_client(links, one.bound_port)
    target = tmp_path / "got"
    for part in (1, 2):
        fetching = asyncio.create_task(fetch(two, target, len(data)))
        await until(lambda part=part: target.exists() and target.stat().st_size >= part * MIB)  # type: ignore[misc]
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert open_files(target) == 0
        await until(lambda: open_files(shelf.files[ID]) == 0)
        assert target.read_bytes() == data[: target.stat().st_size]
    await fetch(two, target, len(data))
    assert target.read_bytes() == data


@pytest.mark.parametrize("who", ["sender", "receiver"])
async def test_stopping_ends_transfers(
    links: Links, tmp_path: Path, caplog: pytest.LogCaptureFixture, who: str
) -> None:
    caplog.set_level(logging.INFO, "replicator.transport")
    shelf = Shelf().put(tmp_path, some_bytes(32 * MIB))
    one = await a_server(links, shelf, peers_of("n1", {"n2": 1}, snapshot_bytes_per_s=MIB))
    two = await a_client(links, one.bound_port, timers=IMPATIENT)
    target = tmp_path / "got"
    fetching = asyncio.create_task(fetch(two, target, 32 * MIB))
    await until(lambda: target.exists() and target.stat().st_size > 0)
    await (one if who == "sender" else two).stop(0.2)
    if who == "sender":
        assert open_files(shelf.files[ID]) == 0
        assert f"gave up sending snapshot={ID} peer=n2: this node stops" in caplog.text
    else:
        assert open_files(target) == 0
    with pytest.raises(SnapshotUnavailable) as error:
        await fetching
    assert error.value.reason is (FetchFailure.TIMED_OUT if who == "sender" else FetchFailure.STOPPING)
    if who == "receiver":
        with pytest.raises(SnapshotUnavailable, match="STOPPING"):
            await fetch(two, target, 32 * MIB)


async def test_links_carry_frames_while_snapshots_pass(links: Links, tmp_path: Path) -> None:
    """Each frame waits for the one before it to arrive, so a stalled link would show as a low count."""
    data = some_bytes(24 * MIB)
    shelf, sink_1, sink_2 = Shelf().put(tmp_path, data), RecordingSink(), RecordingSink()
    known_peers = peers_of("n1", {"n2": 1}, snapshot_bytes_per_s=16 * MIB)
    one = PeerTransport(known_peers.settings, sink_1, random.Random(1), known_peers.membership, RunsInMemory())
    one.serve_snapshots(shelf)
    links.push_async_callback(one.stop, 0.2)
    await one.start()
    two = await links.start(peers_of("n2", {"n1": one.bound_port}), sink_2)
    await until(lambda: is_linked(one, "n2") and is_linked(two, "n1"))

    fetching = asyncio.create_task(fetch(two, tmp_path / "got", len(data)))
    slowest_s, turns = 0.0, 0
    while not fetching.done():
        started_s = time.perf_counter()
        assert one.send(N2, b"%d" % turns)
        await until(lambda turns=turns: len(sink_2.frames.get("n1", [])) == turns + 1)  # type: ignore[misc]
        slowest_s = max(slowest_s, time.perf_counter() - started_s)
        turns += 1
    await fetching
    print(f"{turns} frames beside the snapshot, the slowest took {slowest_s * 1000:.1f} ms")  # noqa: T201  # a figure for the reader of the run
    assert turns > 20
    assert [kind for kind, _, _ in sink_2.calls] == ["up"], "the link never flapped"
    assert (tmp_path / "got").read_bytes() == data


async def test_under_mutual_tls_a_snapshot_arrives_and_only_at_the_node_of_the_certificate(
    links: Links, tmp_path: Path
) -> None:
    authority, data = Authority(), some_bytes(MIB)
    files = {name: certificate(authority, tmp_path, name) for name in ("n1", "n2", "n3")}
    one = await a_server(links, Shelf().put(tmp_path, data), peers_of("n1", {"n2": 1, "n3": 1}, tls=files["n1"]))
    two = await a_client(links, one.bound_port, tls=files["n2"])
    await fetch(two, tmp_path / "got", len(data))
    assert (tmp_path / "got").read_bytes() == data

    disguised = await a_client(links, one.bound_port, tls=files["n3"])
    with pytest.raises(SnapshotUnavailable, match="REFUSED: IDENTITY"):
        await fetch(disguised, tmp_path / "stolen", len(data))
    plaintext = await a_client(links, one.bound_port, timers=IMPATIENT)
    with pytest.raises(SnapshotUnavailable, match="TIMED_OUT"):
        await fetch(plaintext, tmp_path / "stolen", len(data))
    assert (tmp_path / "stolen").read_bytes() == b""


async def test_a_sender_with_the_certificate_of_another_node_is_not_believed(links: Links, tmp_path: Path) -> None:
    authority = Authority()
    stolen, mine = certificate(authority, tmp_path, "n3"), certificate(authority, tmp_path, "n2")
    one = await a_server(links, Shelf().put(tmp_path, b"x"), peers_of("n1", {"n2": 1}, tls=stolen))
    two = await a_client(links, one.bound_port, tls=mine, timers=IMPATIENT)
    with pytest.raises(SnapshotUnavailable, match="TIMED_OUT"):
        await fetch(two, tmp_path / "got", 1)


@pytest.mark.parametrize(
    ("one_way_s", "size_mib", "bytes_per_s"), [(0.0, 128, None), (0.0, 64, 64 * MIB), (0.05, 64, 64 * MIB)]
)
async def test_how_fast_it_is(
    links: Links, tmp_path: Path, one_way_s: float, size_mib: int, bytes_per_s: int | None
) -> None:
    """Prints; a busy machine must not fail it."""
    data = some_bytes(size_mib * MIB)
    one = await a_server(
        links, Shelf().put(tmp_path, data), peers_of("n1", {"n2": 1}, snapshot_bytes_per_s=bytes_per_s)
    )
    async with DelayProxy(one.bound_port, one_way_s) as proxy:
        two = await a_client(links, proxy.port if one_way_s else one.bound_port)
        started_s = time.perf_counter()
        await fetch(two, tmp_path / "got", len(data))
        rate = len(data) / 1e6 / (time.perf_counter() - started_s)
        print(f"round trip {one_way_s * 2000:.0f} ms, bound {bytes_per_s}: {rate:.0f} MB/s")  # noqa: T201  # a figure for the reader of the run
        await two.stop(0)
    assert (tmp_path / "got").read_bytes() == data
