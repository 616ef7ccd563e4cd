"""The proxy over real sockets, on both loops: intact bytes, effective faults, and a way back from each."""

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest
import uvloop

from chaos.wire import CutMode, DeadEnd, Direction, Latency, LineSettings, Link, LinkSettings, Loss, Network, Route
from chaos.wire.reset import reset
from replicator.dev import free_ports

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
DEADLINE_S = 30.0


def on_both_loops(test: Callable[[], Coroutine[None, None, None]]) -> Callable[..., None]:
    """The demo runs on uvloop, other users may not: the proxy keeps its promises on either."""

    @pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


class Target:
    """A server that keeps what it hears and, if it echoes, sends it back."""

    def __init__(self, *, echoes: bool) -> None:
        self.streams: list[Stream] = []
        self.heard = bytearray()
        self.ended = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self._echoes = echoes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams.append((reader, writer))
        try:
            while await self.reads.wait() and (data := await reader.read(65536)):
                self.heard += data
                if self._echoes:
                    writer.write(data)
                    await writer.drain()
            writer.close()
        except ConnectionError:
            writer.close()
        finally:
            self.ended.set()


@asynccontextmanager
async def a_target(*, echoes: bool = True) -> AsyncIterator[tuple[Target, str]]:
    target = Target(echoes=echoes)
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0)
    try:
        yield target, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        target.reads.set()
        for _, writer in target.streams:
            writer.transport.abort()


async def dial(link: Link) -> Stream:
    return await asyncio.open_connection(*link.address.split(":"))


async def ask(stream: Stream, data: bytes) -> bytes:
    stream[1].write(data)
    return await stream[0].readexactly(len(data))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def hears_nothing(stream: Stream) -> bool:
    """True if no byte arrives while the same loop turns many times; the proxy would need only a few."""
    pending = asyncio.ensure_future(stream[0].read(1))
    for _ in range(200):
        await asyncio.sleep(0.001)
    heard = pending.done()
    pending.cancel()
    await asyncio.gather(pending, return_exceptions=True)
    return not heard


@on_both_loops
async def test_bytes_come_back_unchanged_and_late_by_the_round_trip() -> None:
    async with a_target() as (_, address), Link(0, address, LinkSettings.round_trip(0.2)) as link:
        stream = await dial(link)
        await ask(stream, b"opening costs a round trip of its own")
        started_s = time.monotonic()
        assert await ask(stream, b"hello") == b"hello"
        assert time.monotonic() - started_s >= 0.2
        assert link.counters.bytes_forward == link.counters.bytes_backward == len(b"hello") + 37
        stream[1].close()


@on_both_loops
async def test_opening_a_connection_costs_a_round_trip() -> None:
    async with a_target() as (_, address), Link(0, address, LinkSettings.round_trip(0.1)) as link:
        started_s = time.monotonic()
        stream = await dial(link)
        await ask(stream, b"x")
        assert time.monotonic() - started_s >= 0.2
        stream[1].close()


@on_both_loops
async def test_eight_mebibytes_arrive_intact_over_a_long_jittery_lossy_line_and_fill_it() -> None:
    """A long line must not be a slow one: what is in flight is bounded by memory, not by a window of the proxy."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201
    payload = random.Random(seed).randbytes(8 << 20)
    line = LineSettings(latency=Latency(0.1, 0.02), loss=Loss(0.01))
    async with a_target() as (target, address), Link(0, address, LinkSettings(line, line), seed=seed) as link:
        reader, writer = await dial(link)

        async def send() -> None:
            writer.write(payload)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.ensure_future(send())
        echoed = await reader.read(-1)
        await sending
        assert hashlib.sha256(target.heard).digest() == hashlib.sha256(payload).digest()
        assert hashlib.sha256(echoed).digest() == hashlib.sha256(payload).digest()
        assert link.counters.buffered_bytes_peak > 1 << 20
        writer.close()


@on_both_loops
async def test_memory_is_bounded_when_the_receiver_stops_reading() -> None:
    limit_bytes = 1 << 20
    line = LineSettings(buffer_bytes_max=limit_bytes)
    payload = b"z" * (24 << 20)
    async with a_target(echoes=False) as (target, address), Link(0, address, LinkSettings(line, line)) as link:
        target.reads.clear()
        _, writer = await dial(link)
        writer.write(payload)
        writer.write_eof()
        await until(lambda: link.counters.pauses > 0)
        target.reads.set()
        await asyncio.wait_for(target.ended.wait(), DEADLINE_S)
        assert bytes(target.heard) == payload
        assert link.counters.buffered_bytes_peak <= limit_bytes + (1 << 18)  # and one read of the socket
        writer.close()


@on_both_loops
async def test_half_closed_connections_still_carry_the_answer() -> None:
    async with a_target() as (_, address), Link(0, address, LinkSettings.round_trip(0.02)) as link:
        reader, writer = await dial(link)
        writer.write(b"question")
        writer.write_eof()
        assert await reader.read(-1) == b"question"
        writer.close()


@on_both_loops
async def test_a_stall_holds_every_byte_and_the_heal_delivers_them() -> None:
    async with a_target() as (target, address), Link(0, address) as link:
        stream = await dial(link)
        await ask(stream, b"before")
        link.cut(CutMode.STALL)
        delivered = link.counters.bytes_delivered
        stream[1].write(b"during")
        assert await hears_nothing(stream)
        assert link.counters.bytes_delivered == delivered
        assert bytes(target.heard) == b"before"

        link.heal()
        link.heal()
        assert await asyncio.wait_for(stream[0].readexactly(6), DEADLINE_S) == b"during"
        stream[1].close()


@on_both_loops
async def test_a_connection_made_during_a_stall_opens_and_comes_alive_with_the_heal() -> None:
    async with a_target() as (target, address), Link(0, address) as link:
        link.cut(CutMode.STALL)
        stream = await dial(link)
        stream[1].write(b"anyone?")
        assert await hears_nothing(stream)
        assert target.streams == []
        assert link.counters.connections_stalled == 1

        link.heal()
        assert await asyncio.wait_for(stream[0].readexactly(7), DEADLINE_S) == b"anyone?"
        stream[1].close()


@on_both_loops
async def test_a_one_way_stall_leaves_the_other_way_open() -> None:
    async with a_target() as (target, address), Link(0, address) as link:
        stream = await dial(link)
        await ask(stream, b"x")
        link.cut(CutMode.STALL, Direction.BACKWARD)
        stream[1].write(b"one way")
        await until(lambda: bytes(target.heard) == b"xone way")
        assert await hears_nothing(stream)
        link.heal()
        assert await asyncio.wait_for(stream[0].readexactly(7), DEADLINE_S) == b"one way"
        stream[1].close()


@on_both_loops
async def test_a_stalled_sender_is_slowed_down_instead_of_filling_memory() -> None:
    async with a_target(echoes=False) as (target, address), Link(0, address) as link:
        _, writer = await dial(link)
        writer.write(b"a")
        await until(lambda: bytes(target.heard) == b"a")
        link.cut(CutMode.STALL)
        writer.write(b"b" * (16 << 20))
        draining = asyncio.ensure_future(writer.drain())
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert not draining.done()
        assert link.counters.buffered_bytes_peak < 1 << 20
        link.heal()
        await asyncio.wait_for(draining, DEADLINE_S)
        await until(lambda: len(target.heard) == 1 + (16 << 20))
        writer.close()


@on_both_loops
async def test_a_reset_cut_kills_what_lives_and_refuses_what_comes_until_the_heal() -> None:
    async with a_target() as (target, address), Link(0, address) as link:
        stream = await dial(link)
        await ask(stream, b"x")
        link.cut(CutMode.RESET)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(stream[0].readexactly(1), DEADLINE_S)
        await asyncio.wait_for(target.ended.wait(), DEADLINE_S)
        late = await dial(link)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(late[0].readexactly(1), DEADLINE_S)
        assert link.counters.connections_reset == 1
        assert link.counters.connections_refused == 1

        link.heal()
        fresh = await dial(link)
        assert await ask(fresh, b"back") == b"back"
        for _, writer in (stream, late, fresh):
            writer.close()


@on_both_loops
async def test_resetting_connections_once_lets_the_next_ones_live() -> None:
    async with a_target() as (_, address), Link(0, address) as link:
        stream = await dial(link)
        await ask(stream, b"x")
        assert link.reset_connections() == 1
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(stream[0].readexactly(1), DEADLINE_S)
        fresh = await dial(link)
        assert await ask(fresh, b"again") == b"again"
        for _, writer in (stream, fresh):
            writer.close()


@on_both_loops
async def test_a_target_that_refuses_is_passed_on_as_a_reset() -> None:
    async with Link(0, f"127.0.0.1:{free_ports(1)[0]}") as link:
        stream = await dial(link)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(stream[0].readexactly(1), DEADLINE_S)
        assert link.counters.connections_refused == 1
        stream[1].close()


@on_both_loops
async def test_the_death_of_one_end_reaches_the_other() -> None:
    async with a_target() as (target, address), Link(0, address, LinkSettings.round_trip(0.02)) as link:
        stream = await dial(link)
        await ask(stream, b"x")
        server_side = target.streams[0][1]
        reset(cast(asyncio.Transport, server_side.transport))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(stream[0].readexactly(1), DEADLINE_S)
        stream[1].close()


@on_both_loops
async def test_the_end_of_a_stream_may_find_that_the_other_side_is_gone() -> None:
    """While one way is stalled nothing is heard from that side, not even that it has reset the connection."""
    async with a_target() as (target, address), Link(0, address) as link:
        reader, writer = await dial(link)
        await ask((reader, writer), b"x")
        link.cut(CutMode.STALL, Direction.BACKWARD)
        server_side = target.streams[0][1]
        reset(cast(asyncio.Transport, server_side.transport))
        await until(lambda: server_side.transport.get_extra_info("socket").fileno() == -1)
        writer.write_eof()
        assert await hears_nothing((reader, writer))
        link.heal()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), DEADLINE_S)
        writer.close()


@on_both_loops
async def test_settings_change_on_a_living_connection() -> None:
    async with a_target() as (_, address), Link(0, address) as link:
        stream = await dial(link)
        await ask(stream, b"near")
        far = LineSettings(latency=Latency(0.15))
        link.settings = replace(link.settings, forward=far)
        started_s = time.monotonic()
        await ask(stream, b"far")
        assert time.monotonic() - started_s >= 0.15
        stream[1].close()


@on_both_loops
async def test_closing_a_link_ends_every_connection_also_one_that_is_still_opening() -> None:
    async with a_target() as (_, address):
        link = Link(0, address, LinkSettings.round_trip(20.0))
        await link.open()
        stream = await dial(link)
        await asyncio.sleep(0)
        await link.close()
        await link.close()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(stream[0].readexactly(1), DEADLINE_S)
        stream[1].close()


@on_both_loops
async def test_a_region_that_is_cut_off_takes_no_part_while_the_others_talk() -> None:
    pairs = [("eu", "us"), ("us", "ap"), ("eu", "ap")]
    distances = {frozenset(pair): LinkSettings.round_trip(0.002) for pair in pairs}
    async with a_target() as (_, address), Network(distances) as network:
        links = {pair: await network.connect(Route(*pair), address) for pair in pairs}
        streams = {pair: await dial(link) for pair, link in links.items()}
        for stream in streams.values():
            await ask(stream, b"up")

        network.cut_off("ap")
        before = network.bytes_delivered("ap")
        for stream in streams.values():
            stream[1].write(b"?")
        assert await asyncio.wait_for(streams["eu", "us"][0].readexactly(1), DEADLINE_S) == b"?"
        assert await hears_nothing(streams["us", "ap"])
        assert network.bytes_delivered("ap") == before
        assert network.are_connected("eu", "us")
        assert not network.are_connected("ap", "us")
        assert network.are_connected("ap", "ap")

        network.heal()
        assert await asyncio.wait_for(streams["eu", "ap"][0].readexactly(1), DEADLINE_S) == b"?"
        assert network.bytes_delivered("ap") > before
        for stream in streams.values():
            stream[1].close()


async def test_a_dead_end_refuses_and_is_given_to_nobody_else() -> None:
    with DeadEnd() as one, DeadEnd() as other:
        assert one.address != other.address
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*one.address.split(":"))
