"""Either id of a pair may dial, so both may at once: they end with one link, and with the same one."""

import asyncio
import logging
import random
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest

from benchmarks.delay_proxy import DelayProxy
from replicator.model.ids import NodeId
from replicator.transport.peer_transport import PeerTransport
from tests.support.links import QUICK, HandDriven, Links, RecordingSink, a_membership, is_linked, peers_of, until

N1, N2 = NodeId("n1"), NodeId("n2")
EAGER = replace(QUICK, late_dial_s=0.0)
ROUNDS = 8
ECHOES = 20  # round trips over one and the same link, in a row
LINKS_MAX = 4  # of one pair until it has settled: the rule allows two, a stream that is cut by both ends two more


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    async with Links() as running:
        yield running


async def settled(one: PeerTransport, sink_1: RecordingSink, two: PeerTransport, sink_2: RecordingSink) -> None:
    """Returns once ECHOES frames have gone back and forth while neither side saw a link come or go."""
    async with asyncio.timeout(30):
        while True:
            await until(lambda: is_linked(one, "n2") and is_linked(two, "n1"))
            before = len(sink_1.calls), len(sink_2.calls)
            if await echoes(one, sink_1, two, sink_2) and (len(sink_1.calls), len(sink_2.calls)) == before:
                return


async def echoes(one: PeerTransport, sink_1: RecordingSink, two: PeerTransport, sink_2: RecordingSink) -> bool:
    """False if a link fell meanwhile."""
    calls = len(sink_1.calls) + len(sink_2.calls)
    for _ in range(ECHOES):
        for sender, peer, sink, me in ((one, N2, sink_2, "n1"), (two, N1, sink_1, "n2")):
            heard = len(sink.frames.get(me, []))
            if not sender.send(peer, b"echo"):
                return False
            await until(
                lambda sink=sink, me=me, heard=heard: (  # type: ignore[misc]
                    len(sink.frames.get(me, [])) > heard or len(sink_1.calls) + len(sink_2.calls) != calls
                )
            )
    return True


@pytest.mark.parametrize("round_number", range(ROUNDS))
async def test_two_nodes_that_dial_at_once_settle_on_one_link(links: Links, round_number: int) -> None:
    """Over paths of different length, so that handshakes cross in every way; and again after each loss."""
    seed = random.SystemRandom().randrange(1 << 32)
    sys.stdout.write(f"seed {seed} round {round_number}\n")
    dice = random.Random(seed)
    sink_1, sink_2 = RecordingSink(), RecordingSink()
    one = await links.start(peers_of("n1", {}, timers=EAGER), sink_1)
    two = await links.start(peers_of("n2", {}, timers=EAGER), sink_2)
    delays_s = [dice.choice((0.0, 0.002, 0.01)) for _ in range(2)]
    async with DelayProxy(one.bound_port, delays_s[0]) as to_one, DelayProxy(two.bound_port, delays_s[1]) as to_two:
        membership = a_membership({"n1": to_one.port, "n2": to_two.port}, index=1)
        for node in dice.sample((one, two), 2):
            node.set_membership(membership)
        await settled(one, sink_1, two, sink_2)
        for cutter, peer in ((one, N2), (two, N1)):
            seen = len(sink_1.calls), len(sink_2.calls)
            cutter.drop(peer, cutter.links()[peer].epoch, "the test says so")
            await settled(one, sink_1, two, sink_2)
            for sink, before in zip((sink_1, sink_2), seen, strict=True):
                ups = sum(kind == "up" for kind, _, _ in sink.calls[before:])
                assert 1 <= ups <= LINKS_MAX, sink.calls
        await two.stop(0.1)
        await one.stop(0.1)


async def test_the_lesser_id_dials_when_the_greater_one_does_not_reach_it(links: Links) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        sink_1, sink_2 = RecordingSink(), RecordingSink()
        two = await links.start(peers_of("n2", {"n1": closed.getsockname()[1]}), sink_2)
        one = await links.start(peers_of("n1", {"n2": two.bound_port}), sink_1)
        await settled(one, sink_1, two, sink_2)
        assert sink_1.calls == [("up", "n2", 1)]
        assert sink_2.calls == [("up", "n1", 1)]

        two.drop(N1, 1, "the test says so")
        await settled(one, sink_1, two, sink_2)


async def test_the_lesser_id_keeps_out_while_the_greater_one_holds_a_link(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own end is gone, or its stream crossed the other's: either way the greater one's link decides."""
    caplog.set_level(logging.DEBUG, "replicator.transport")
    one, sink_1, two, sink_2 = await links.pair(timers=EAGER)
    epoch = two.links()[N1].epoch
    async with HandDriven(two.bound_port) as late:
        with pytest.raises(grpc.aio.AioRpcError, match="linked already") as refused:
            await late.shake_hands(node_id="n1", peer_id="n2", region="eu")
    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
    await settled(one, sink_1, two, sink_2)
    assert two.links()[N1].epoch == epoch
    assert two.links()[N1].last_refusal is None


async def test_a_newer_stream_of_the_lesser_id_takes_the_place_of_its_older_one(links: Links) -> None:
    """It would not dial if it had not lost the older one."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        sink = RecordingSink()
        two = await links.start(peers_of("n2", {"n1": closed.getsockname()[1]}), sink)
        async with HandDriven(two.bound_port) as old, HandDriven(two.bound_port) as new:
            for number, stream in enumerate((old, new), start=1):
                await stream.shake_hands(node_id="n1", peer_id="n2", region="eu")
                await until(lambda number=number: two.links()[N1].epoch == number)  # type: ignore[misc]
            assert await old.call.read() is grpc.aio.EOF
    assert sink.calls[:3] == [("up", "n1", 1), ("down", "n1", 1), ("up", "n1", 2)]
