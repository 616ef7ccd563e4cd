"""Real processes and hostile clients on loopback: memory stays bounded, probes and good clients are answered."""

import asyncio
import contextlib
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from replicator.client import Client, connect
from replicator.dev import NodePlan
from replicator.model.limits import MESSAGE_BYTES_MAX
from replicator.v1 import kv_pb2
from tests.support.raw_http2 import (
    DATA,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    RawHttp2,
    frame,
    grpc_message,
    headers,
)
from tests.support.real_nodes import http_get, one_node, tail_of, until, until_ready

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

KV = "/replicator.v1.KVService"
MIB_IN_KIB = 1 << 10
CALL_KIB_MAX = 20  # of a call without a request: some 13 KiB, nearly all of it in gRPC
WAIT_S = 60.0


@dataclass
class Node:
    """A process of one node."""

    plan: NodePlan
    process: subprocess.Popen[bytes]

    def rss_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    def log(self) -> str:
        return tail_of(self.plan.log_file)

    async def answers(self, client: Client) -> None:
        """Probes, and a good client, which may be told to try again, as its SDK does."""
        assert (await http_get(self.plan.admin, "/livez"))[0] == 200
        assert (await http_get(self.plan.admin, "/readyz"))[0] == 200
        await client.put(b"good", b"client")
        assert (await client.get(b"good")).value == b"client"


@asynccontextmanager
async def serving(folder: Path, more_toml: str = "", *, descriptors: int = 0) -> AsyncIterator[tuple[Node, Client]]:
    """descriptors: how many files it may open; 0: as many as this process."""
    plan = one_node(folder)
    plan.config_file.write_text(f"{plan.config_file.read_text()}\n{more_toml}")
    process = started(plan, descriptors)
    try:
        await until_ready(plan, 90.0)
        async with connect([plan.api], timeout_s=30.0) as client:
            await client.put(b"big", bytes(1 << 20))
            await client.get(b"big")
            yield Node(plan, process), client
    finally:
        process.kill()
        process.wait()


def started(plan: NodePlan, descriptors: int) -> subprocess.Popen[bytes]:
    def limit() -> None:
        if descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    with plan.log_file.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "replicator", "serve", "--config", str(plan.config_file)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=limit,  # noqa: PLW1509
        )  # fmt: skip


def get(stream: int) -> bytes:
    request = grpc_message(kv_pb2.GetRequest(key=b"big").SerializeToString())
    return headers(stream, f"{KV}/Get") + frame(DATA, END_STREAM, stream, request)


async def opened(stack: AsyncExitStack, node: Node, number: int) -> list[RawHttp2]:
    return [await stack.enter_async_context(RawHttp2(node.plan.api_port)) for _ in range(number)]


async def test_answers_that_nobody_takes_cost_bounded_memory_and_in_the_end_the_connection(tmp_path: Path) -> None:
    """The client acknowledges all that keeps a connection alive, and opens no window for its answers."""
    async with serving(tmp_path, "[limits]\nunread_mib_max = 64\n") as (node, client), AsyncExitStack() as stack:
        before_kib = node.rss_kib()
        hostile = await opened(stack, node, 6)
        for number in range(1, 400, 2):
            for each in hostile:
                with contextlib.suppress(ConnectionError):
                    await each.say(get(number))
            await asyncio.sleep(0)
        await node.answers(client)
        await until(lambda: all(each.ended.is_set() for each in hostile), "their ends", WAIT_S)
        await node.answers(client)
        assert node.rss_kib() - before_kib < 256 * MIB_IN_KIB
        assert "listen.api: cut a connection" in node.log()
        assert (
            'replicator_node_connections_closed_total{cause="unread"'
            in (await http_get(node.plan.admin, "/metrics"))[1]
        )


async def test_requests_that_are_too_long_are_refused_unread(tmp_path: Path) -> None:
    async with serving(tmp_path) as (node, client):
        before_kib = node.rss_kib()

        async def put() -> grpc.StatusCode:
            options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
            async with grpc.aio.insecure_channel(node.plan.api, options=options) as channel:
                call: Any = channel.unary_unary(f"{KV}/Put")
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(bytes(MESSAGE_BYTES_MAX + 1), timeout=30.0)
                return caught.value.code()

        codes = await asyncio.gather(*(put() for _ in range(100)))

        assert set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert node.rss_kib() - before_kib < 100 * MIB_IN_KIB
        await node.answers(client)


async def test_calls_that_never_send_their_request_make_room_for_others(tmp_path: Path) -> None:
    async with serving(tmp_path) as (node, client), AsyncExitStack() as stack:
        before_kib = node.rss_kib()
        hostile = await opened(stack, node, 20)
        for each in hostile:
            await each.say(b"".join(headers(2 * number + 1, f"{KV}/Put") for number in range(1000)))
        large = frame(DATA, 0, 1, b"\0" + (1 << 20).to_bytes(4) + bytes(1 << 14))
        for each in hostile:
            with contextlib.suppress(ConnectionError):
                await each.say(large)
        for _ in range(5):
            await node.answers(client)
        assert node.rss_kib() - before_kib < 20_000 * CALL_KIB_MAX
        for each in hostile:
            await until(lambda each=each: each.ended.is_set() or ends_of(each) == 1000, "ends", WAIT_S)  # type: ignore[misc]


def ends_of(client: RawHttp2) -> int:
    """Streams that were refused, or ended by a status."""
    return len({stream for kind, stream, _ in client.heard if kind in (HEADERS, RST_STREAM)})


async def test_silent_connections_use_up_no_descriptors(tmp_path: Path) -> None:
    """400 connections, 256 descriptors; and a line says which limit to raise."""
    async with serving(tmp_path, descriptors=256) as (node, client), AsyncExitStack() as stack:
        for port in (node.plan.api_port, node.plan.admin_port, node.plan.peer_port):
            for _ in range(400):
                with contextlib.suppress(ConnectionError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    stack.callback(writer.close)
            await until_live(node.plan)  # in the moment before the guard looks, a probe may find no descriptor
            async with connect([node.plan.api], timeout_s=30.0) as newcomer:
                await node.answers(newcomer)
            await node.answers(client)
            await until(lambda: "listen.api: closed" in node.log(), "the guard's look")
        assert "files may be open: raise that limit" in node.log()


async def until_live(plan: NodePlan) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(ConnectionError):
                if (await http_get(plan.admin, "/livez"))[0] == 200:
                    return
            await asyncio.sleep(0.05)


async def test_a_connection_that_trickles_bytes_is_ended(tmp_path: Path) -> None:
    async with serving(tmp_path) as (node, client):
        ended = [
            await trickle(node.plan.api_port, said)
            for said in (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        ]
        assert ended == [True, True]
        await node.answers(client)


async def trickle(port: int, said: bytes) -> bool:
    """Whether the node ends a connection that sends one byte at a time: of the preface, or of a frame behind it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    rest = b"PRI * HTTP/2.0\r\n" if not said else b"\xff" * 3 + bytes(1000)
    listening = asyncio.create_task(until_end(reader))
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(WAIT_S):
            for byte in rest:
                if listening.done():
                    break
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.5)
    done, _ = await asyncio.wait({listening}, timeout=WAIT_S)
    listening.cancel()
    writer.close()
    return bool(done)


async def until_end(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(1 << 12):
            pass
