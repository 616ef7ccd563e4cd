"""Links between transports over real sockets: order, reconnects, superseding, back-pressure, stopping."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import grpc
import pytest

from benchmarks.delay_proxy import DelayProxy
from replicator.model.errors import StartupError
from replicator.model.ids import NodeId
from replicator.transport.ports import FRAME_BYTES_MAX
from replicator.transport.settings import LinkTimers
from replicator.v1 import peer_pb2
from tests.support.links import HandDriven, Links, RecordingSink, is_linked, peers_of, until

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    async with Links() as running:
        yield running


async def test_frames_arrive_in_order_in_both_directions(links: Links) -> None:
    one, sink_1, two, sink_2 = await links.pair()
    ones, twos = ([b"%s-%d" % (name, n) for n in range(2000)] for name in (b"one", b"two"))
    for a, b in zip(ones, twos, strict=True):
        assert one.send(N2, a)
        assert two.send(N1, b)

    await until(lambda: len(sink_1.frames.get("n2", [])) == len(sink_2.frames.get("n1", [])) == 2000)

    assert sink_2.frames["n1"] == ones
    assert sink_1.frames["n2"] == twos
    assert one.links()[N2].frames_sent == two.links()[N1].frames_received == 2000
    assert one.links()[N2].bytes_sent == sum(map(len, ones))


async def test_three_nodes_link_in_pairs_with_one_stream_each(links: Links) -> None:
    sinks = {name: RecordingSink() for name in ("n1", "n2", "n3")}
    one = await links.start(peers_of("n1", {"n2": 1, "n3": 1}), sinks["n1"])
    two = await links.start(peers_of("n2", {"n1": one.bound_port, "n3": 1}), sinks["n2"])
    three = await links.start(peers_of("n3", {"n1": one.bound_port, "n2": two.bound_port}), sinks["n3"])
    nodes = {N1: one, N2: two, N3: three}
    await until(lambda: all(status.connected for node in nodes.values() for status in node.links().values()))

    for me, node in nodes.items():
        for peer in node.links():
            assert node.send(peer, f"{me} to {peer}".encode())

    for me in nodes:
        sink = sinks[me]
        await until(lambda sink=sink: len(sink.frames) == 2)  # type: ignore[misc]
        assert sink.frames == {peer: [f"{peer} to {me}".encode()] for peer in nodes if peer != me}
        assert [kind for kind, _, _ in sink.calls] == ["up", "up"], "one stream a pair, and no flapping"


async def test_the_largest_frame_passes_and_a_larger_one_is_the_callers_bug(links: Links) -> None:
    one, _, two, sink_2 = await links.pair()
    largest = bytes(FRAME_BYTES_MAX)
    assert one.send(N2, largest)
    await until(lambda: sink_2.frames.get("n1") == [largest])

    with pytest.raises(ValueError, match=str(FRAME_BYTES_MAX)):
        one.send(N2, largest + b"x")
    assert not one.send(NodeId("n9"), b"x"), "nobody knows n9, now"
    assert is_linked(two, "n1")


async def test_without_a_link_send_says_so(links: Links) -> None:
    one = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    assert not one.send(N2, b"x")
    assert not one.links()[N2].connected


async def test_the_dialler_comes_back_after_the_acceptor_restarts(links: Links) -> None:
    one, sink_1, two, sink_2 = await links.pair()
    port = one.bound_port
    await one.stop(0.5)
    await until(lambda: not is_linked(two, "n1"))
    assert not two.send(N1, b"lost")

    again = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}, listen=f"127.0.0.1:{port}"), again)
    await until(lambda: is_linked(two, "n1") and is_linked(one, "n2"))
    assert two.send(N1, b"hello again")
    await until(lambda: again.frames.get("n2") == [b"hello again"])

    assert [kind for kind, _, _ in sink_2.calls] == ["up", "down", "up"]
    assert [kind for kind, _, _ in sink_1.calls] == ["up", "down"]


async def test_the_acceptor_notices_a_dialler_that_leaves(links: Links) -> None:
    one, sink_1, two, _ = await links.pair()
    await two.stop(0.5)
    await until(lambda: not is_linked(one, "n2"))
    assert [kind for kind, _, _ in sink_1.calls] == ["up", "down"]


async def test_a_newer_stream_supersedes_the_old_one_whose_late_frames_are_dropped(links: Links) -> None:
    """Old down first, then new up; what the old stream still holds never reaches the sink."""
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}), sink)
    async with HandDriven(one.bound_port) as old, HandDriven(one.bound_port) as new:
        await old.shake_hands()
        await until(lambda: is_linked(one, "n2"))
        sink.gate.clear()  # the first frame is held in the sink, the others behind it
        for n in range(50):
            await old.say(peer_pb2.LinkMessage(frame=b"old %d" % n))
        await until(lambda: one.links()[N2].frames_received == 1)

        await new.shake_hands()
        await until(lambda: len(sink.calls) == 3)
        await until(old.call.done)  # its reader, which waits in the sink, is cancelled
        sink.gate.set()
        await new.say(peer_pb2.LinkMessage(frame=b"new"))
        await until(lambda: "n2" in sink.frames)

        assert sink.frames["n2"] == [b"new"]
        assert sink.calls == [("up", "n2", 1), ("down", "n2", 1), ("up", "n2", 2)]
        assert one.links()[N2].epoch == 2
        assert await old.call.read() is grpc.aio.EOF, "the old stream is ended"


async def test_a_sink_that_stops_reading_fills_the_queue_and_nothing_is_lost_or_reordered(links: Links) -> None:
    queue_bytes_max = 1 << 20
    one, _, _, sink_2 = await links.pair(queue_bytes_max=queue_bytes_max, window_bytes=1 << 16)
    sink_2.gate.clear()
    accepted = 0

    def is_full() -> bool:
        nonlocal accepted
        while one.send(N2, accepted.to_bytes(4, "big") + bytes(32 << 10)):
            accepted += 1
        return one.links()[N2].frames_sent > 0 and one.links()[N2].queued_bytes > queue_bytes_max - (64 << 10)

    await until(is_full)
    sent_before = one.links()[N2].frames_sent
    assert one.links()[N2].queued_bytes <= queue_bytes_max
    assert accepted * (32 << 10) < 8 << 20, "HTTP/2 flow control held the rest back"

    sink_2.gate.set()
    await until(lambda: len(sink_2.frames.get("n1", [])) == accepted)
    assert one.links()[N2].frames_sent > sent_before
    assert [int.from_bytes(frame[:4], "big") for frame in sink_2.frames["n1"]] == list(range(accepted))
    assert one.send(N2, b"room again")


async def test_a_slow_sink_of_one_peer_does_not_hold_up_another(links: Links) -> None:
    slow, quick = RecordingSink(), RecordingSink()
    slow.gate.clear()
    one = await links.start(peers_of("n1", {"n2": 1, "n3": 1}, queue_bytes_max=1 << 18), RecordingSink())
    await links.start(peers_of("n2", {"n1": one.bound_port}), slow)
    await links.start(peers_of("n3", {"n1": one.bound_port}), quick)
    await until(lambda: is_linked(one, "n2") and is_linked(one, "n3"))

    while one.send(N2, bytes(1 << 16)):
        pass
    for n in range(100):
        assert one.send(N3, b"%d" % n)

    await until(lambda: len(quick.frames.get("n1", [])) == 100)
    assert slow.frames == {}


async def test_a_black_holed_link_is_noticed_on_both_sides_and_comes_back(links: Links) -> None:
    """No FIN, no RST: only the keepalive can tell."""
    timers = LinkTimers(
        connect_s=0.3, keepalive_time_s=0.3, keepalive_timeout_s=0.3, backoff_min_s=0.01, backoff_max_s=0.05
    )
    sink_1, sink_2 = RecordingSink(), RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}, timers=timers), sink_1)
    async with DelayProxy(one.bound_port) as proxy:
        two = await links.start(peers_of("n2", {"n1": proxy.port}, timers=timers), sink_2)
        await until(lambda: is_linked(one, "n2") and is_linked(two, "n1"))

        proxy.freeze()
        await until(lambda: not is_linked(one, "n2") and not is_linked(two, "n1"))
        proxy.thaw()
        await until(lambda: is_linked(one, "n2") and is_linked(two, "n1"))
        await until(lambda: two.send(N1, b"healed") and b"healed" in sink_1.frames.get("n2", []))
        await two.stop(0.5)


async def test_a_sink_that_raises_closes_the_link_and_is_logged(links: Links, caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(RecordingSink):
        async def frame(self, peer: NodeId, epoch: int, payload: bytes) -> None:
            if payload == b"poison":
                raise RuntimeError("a bug")
            await super().frame(peer, epoch, payload)

    sink = Faulty()
    one = await links.start(peers_of("n1", {"n2": 1}), sink)
    two = await links.start(peers_of("n2", {"n1": one.bound_port}), RecordingSink())
    await until(lambda: is_linked(two, "n1"))
    two.send(N1, b"poison")
    await until(lambda: ("down", "n2", 1) in sink.calls)
    await until(lambda: is_linked(one, "n2") and is_linked(two, "n1"))
    assert "sink failed peer=n2 epoch=1" in caplog.text


async def test_what_is_queued_at_stop_still_leaves_within_the_grace(links: Links) -> None:
    for stops_first in ("acceptor", "dialler"):
        one, sink_1, two, sink_2 = await links.pair()
        sender, peer, sink, me = (one, N2, sink_2, "n1") if stops_first == "acceptor" else (two, N1, sink_1, "n2")
        for n in range(300):
            assert sender.send(peer, b"%d" % n)
        await sender.stop(10)
        await until(lambda sink=sink, me=me: len(sink.frames.get(me, [])) == 300)  # type: ignore[misc]
        assert sender.links()[peer].frames_dropped == 0


async def test_stop_is_bounded_idempotent_and_leaves_no_task(links: Links) -> None:
    """Even with a peer that reads nothing and a full queue."""
    before = asyncio.all_tasks()
    one, sink_1, two, sink_2 = await links.pair(queue_bytes_max=1 << 20, window_bytes=1 << 16)
    sink_2.gate.clear()
    while one.send(N2, bytes(1 << 16)):
        pass

    await asyncio.gather(one.stop(0.2), one.stop(0.2))
    await one.stop(0.2)
    await two.stop(0.2)

    assert not one.send(N2, b"x")
    assert one.links()[N2].frames_dropped > 0
    assert sink_1.up == sink_2.up == {}
    await until(lambda: asyncio.all_tasks() == before)


async def test_a_dialled_stream_that_is_cut_with_unread_frames_leaves_nothing_behind(links: Links) -> None:
    """gRPC keeps such a call, and all its bytes, until somebody reads them."""
    before = asyncio.all_tasks()
    one, _, two, sink_2 = await links.pair(queue_bytes_max=1 << 20, window_bytes=1 << 20)
    for _ in range(5):
        sink_2.gate.clear()
        for _ in range(20):
            assert one.send(N2, bytes(1 << 15))
        await until(lambda: one.links()[N2].queued_bytes == 0)
        epoch = two.links()[N1].epoch
        async with HandDriven(one.bound_port) as rival:
            await rival.shake_hands()  # the acceptor ends the older stream
            await until(lambda: two.send(N1, b"x") and two.links()[N1].epoch > epoch)  # noqa: B023
        sink_2.gate.set()
        await until(lambda: is_linked(one, "n2") and is_linked(two, "n1"))

    await two.stop(0.2)
    await one.stop(0.2)
    await until(lambda: asyncio.all_tasks() == before)


async def test_a_transport_that_was_never_started_can_be_stopped() -> None:
    async with Links() as running:
        one = await running.start(peers_of("n1", {"n2": 1}), RecordingSink())
        await one.stop(0.1)
        assert not one.send(N2, b"x")


async def test_a_port_in_use_is_one_line_with_the_field_and_the_remedy(links: Links) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        listen = f"127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(
            StartupError, match=r"^listen\.peer: 127\.0\.0\.1:\d+ is in use: stop .* or choose another port$"
        ):
            await links.start(peers_of("n1", {"n2": 1}, listen=listen), RecordingSink())


async def test_two_transports_never_share_a_port(links: Links) -> None:
    """Linux would let them, and gRPC asks for it by default."""
    one = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    with pytest.raises(StartupError, match="is in use"):
        await links.start(peers_of("n1", {"n2": 1}, listen=f"127.0.0.1:{one.bound_port}"), RecordingSink())


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "node.example:0"])
async def test_plaintext_is_refused_on_anything_but_loopback(links: Links, listen: str) -> None:
    with pytest.raises(StartupError, match=r"^listen\.peer: .*not loopback.*\[tls\]"):
        await links.start(peers_of("n1", {"n2": 1}, listen=listen), RecordingSink())


async def test_a_failing_dial_is_logged_once_until_it_changes(links: Links, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "replicator.transport")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: connection refused
        await links.start(peers_of("n2", {"n1": closed.getsockname()[1]}), RecordingSink())
        await until(lambda: len([r for r in caplog.records if "cannot link peer=n1" in r.message]) >= 3)
    said = [record for record in caplog.records if "cannot link peer=n1" in record.message]
    assert [record.levelname for record in said[:3]] == ["WARNING", "DEBUG", "DEBUG"]
