"""A real process: a seed says anything to its API and admin ports; it stays ready, small, and answers a good client.

PORT_FUZZ_SEED replays a run; PORT_FUZZ_SESSIONS makes it longer.
"""

import asyncio
import contextlib
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from replicator.client import Client, connect
from replicator.dev import NodePlan
from tests.support.port_fuzz import METHODS, PortFuzz
from tests.support.raw_http2 import END_HEADERS, END_STREAM, HEADERS, RawHttp2, headers
from tests.support.real_nodes import http_get, one_node, start_serve, tail_of, until, until_ready

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

SESSIONS: Final = int(os.environ.get("PORT_FUZZ_SESSIONS", "60"))  # of each kind
SIDE_BY_SIDE: Final = 6
SESSION_S: Final = 1.0  # after which a session that neither side ended is left
KEPT: Final = b"kept/"  # the fuzz says "fuzz/", or that with some bits turned
RSS_GROWTH_KIB_MAX: Final = 256 << 10


@dataclass
class Sessions:
    """All that one seed says to one node."""

    plan: NodePlan
    fuzz: PortFuzz
    codes: set[str] = field(default_factory=set)  # how gRPC calls ended

    async def raw(self, pieces: list[bytes]) -> None:
        async with RawHttp2(self.plan.api_port, begins=False, reads=pieces[0][:1] != b"") as peer:
            for piece in pieces:
                await peer.say(piece)
            async with asyncio.timeout(SESSION_S):
                await peer.ended.wait()

    async def call(self, method: str, messages: list[bytes]) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self.plan.api, options=options) as channel:
            open_call: Any = channel.stream_stream(method)
            call = open_call(timeout=SESSION_S)
            try:
                for message in messages:
                    await call.write(message)
                await call.done_writing()
                while await call.read() is not grpc.aio.EOF:
                    pass
            except (asyncio.InvalidStateError, grpc.aio.BaseError):
                pass  # ended by the node while we wrote
            finally:
                self.codes.add((await call.code()).name)

    async def http1(self, pieces: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.plan.admin_port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            async with asyncio.timeout(SESSION_S):
                while await reader.read(1 << 16):
                    pass
        finally:
            writer.close()

    async def run(self, count: int) -> None:
        """One after the other; what a session meets is its own affair, what it leaves behind is asked afterwards."""
        for _ in range(count):
            for session in (
                self.raw(self.fuzz.http2()), self.call(*self.fuzz.call()), self.http1(self.fuzz.http1())
            ):  # fmt: skip
                with contextlib.suppress(ConnectionError, TimeoutError, grpc.aio.AioRpcError):
                    await session


def rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


async def test_whatever_is_said_at_the_api_and_admin_ports_the_node_serves_on(tmp_path: Path) -> None:
    seed = int(os.environ.get("PORT_FUZZ_SEED", random.randrange(1 << 32)))
    print(f"PORT_FUZZ_SEED={seed}")  # noqa: T201  # to replay it
    plan = one_node(tmp_path)
    process = start_serve(plan.config_file, plan.log_file)
    try:
        await until_ready(plan, 90.0)
        async with connect([plan.api], timeout_s=60.0) as client:
            kept: dict[bytes, bytes] = {}
            await good_client(plan, client, kept)
            before_kib = rss_kib(process.pid)
            sessions = [Sessions(plan, PortFuzz(random.Random(seed + at))) for at in range(SIDE_BY_SIDE)]
            running = asyncio.gather(*(each.run(SESSIONS // SIDE_BY_SIDE) for each in sessions))
            while not running.done():
                await good_client(plan, client, kept)
                await asyncio.wait({running}, timeout=0.5)
            await running
            await good_client(plan, client, kept)
            found = {pair.key: pair.value async for pair in client.scan(prefix=KEPT)}
            assert found == kept
        assert {"OK", "INVALID_ARGUMENT", "UNIMPLEMENTED"} <= set().union(*(each.codes for each in sessions))
        assert process.poll() is None, tail_of(plan.log_file)
        assert rss_kib(process.pid) - before_kib < RSS_GROWTH_KIB_MAX
        assert "Traceback" not in plan.log_file.read_text(errors="replace"), tail_of(plan.log_file)
    finally:
        process.kill()
        process.wait()


async def test_a_method_that_is_not_utf_8_ends_neither_port(tmp_path: Path) -> None:
    """grpcio 1.84 and 1.85 stop to serve the whole port then (tests/contract/test_grpc_heads_contract.py)."""
    plan = one_node(tmp_path)
    process = start_serve(plan.config_file, plan.log_file)
    try:
        await until_ready(plan, 90.0)
        for port in (plan.api_port, plan.peer_port):
            async with RawHttp2(port) as peer:
                await peer.say(headers(1, "/replicator.v1.KVService/\udcff\udcfe"))
                await until(lambda: (HEADERS, 1) in heads_of(peer), "the call's end")
                await peer.say(headers(3, "/no/method", END_HEADERS | END_STREAM))
                await until(lambda: (HEADERS, 3) in heads_of(peer), "the next call's end")
        async with connect([plan.api], timeout_s=60.0) as client:
            await good_client(plan, client, {})
        log = plan.log_file.read_text()
        assert "Traceback" not in log, log
        assert "calls with a head that is not UTF-8: times=1" in log
    finally:
        process.kill()
        process.wait()


def heads_of(peer: RawHttp2) -> set[tuple[int, int]]:
    return {(kind, stream) for kind, stream, _ in peer.heard}


async def good_client(plan: NodePlan, client: Client, kept: dict[bytes, bytes]) -> None:
    """Writes, reads all, and asks the probes; each must be answered."""
    key = KEPT + b"%d" % len(kept)
    await client.put(key, b"v" + key)
    kept[key] = b"v" + key
    assert (await client.get(key)).value == kept[key]
    for probe in ("/livez", "/readyz"):
        assert (await http_get(plan.admin, probe))[0] == 200


def test_the_fuzz_draws_from_its_seed_alone_and_says_something_to_every_method() -> None:
    def drawn() -> list[object]:
        fuzz = PortFuzz(random.Random(8))
        return [draw() for _ in range(200) for draw in (fuzz.http2, fuzz.call, fuzz.http1)]

    assert drawn() == drawn()
    fuzz = PortFuzz(random.Random(9))
    assert {fuzz.call()[0] for _ in range(500)} == METHODS.keys()
