"""Builders for tests of snapshot transfers: files, a source, transports that fetch, a hand-driven sender."""

import asyncio
import contextlib
import random
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from replicator.model.ids import NodeId
from replicator.transport.handshake.known_peers import KnownPeers
from replicator.transport.handshake.proof import Role, prove
from replicator.transport.links.introductions import Introductions
from replicator.transport.links.roster import Roster
from replicator.transport.peer_transport import PeerTransport
from replicator.transport.streams import FETCH_METHOD, SERVICE, AcceptedStream
from replicator.v1 import peer_pb2
from tests.support.links import ALL_SECRETS, Links, RecordingSink, RunsInMemory, a_hello, peers_of

MIB = 1 << 20
ID = "7-00000000000000aa"
Answer = Callable[[peer_pb2.FetchSnapshotRequest, "grpc.aio.ServicerContext[bytes, bytes]"], Awaitable[None]]


def some_bytes(size_bytes: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


def a_chunk(data: bytes, offset: int) -> bytes:
    chunk = peer_pb2.SnapshotChunk(offset=offset, data=data, checksum=zlib.crc32(data))
    return peer_pb2.LinkMessage(chunk=chunk).SerializeToString()


def a_request(snapshot_id: str = ID, offset: int = 0) -> peer_pb2.LinkMessage:
    """What n2 asks of n1."""
    return peer_pb2.LinkMessage(fetch=peer_pb2.FetchSnapshotRequest(snapshot_id=snapshot_id, offset=offset))


@dataclass
class Shelf:
    """A SnapshotSource: files by id, and how often each was asked for."""

    files: dict[str, Path] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def snapshot_file(self, snapshot_id: str) -> Path | None:
        self.asked.append(snapshot_id)
        return self.files.get(snapshot_id)

    def put(self, folder: Path, data: bytes, snapshot_id: str = ID) -> "Shelf":
        self.files[snapshot_id] = folder / f"{snapshot_id}.held"
        self.files[snapshot_id].write_bytes(data)
        return self


async def a_server(links: Links, shelf: Shelf, known_peers: KnownPeers | None = None) -> PeerTransport:
    """n1, whose snapshots are on `shelf`."""
    known_peers = known_peers or peers_of("n1", {"n2": 1})
    transport = PeerTransport(
        known_peers.settings, RecordingSink(), random.Random(1), known_peers.membership, RunsInMemory()
    )
    transport.serve_snapshots(shelf)
    links.push_async_callback(transport.stop, 0.2)
    await transport.start()
    return transport


async def a_client(links: Links, port: int, **changes: Any) -> PeerTransport:
    """n2, for which n1 listens on `port`."""
    return await links.start(peers_of("n2", {"n1": port}, **changes), RecordingSink())


async def fetch(client: PeerTransport, target: Path, size_bytes: int, timeout_s: float = 60.0) -> None:
    await client.fetch_snapshot(NodeId("n1"), ID, target=target, size_bytes=size_bytes, timeout_s=timeout_s)


@asynccontextmanager
async def a_hand_driven_source(answer: Answer) -> AsyncIterator[int]:
    """A peer port that links to nobody, and whose every chunk the test writes itself; yields its port."""

    async def handle(_: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        stream = AcceptedStream(context)
        await introductions.accept(stream, lambda _hello: None, for_link=False)
        request = await stream.read()
        assert request is not None, "the stream ended before a request"
        await answer(peer_pb2.LinkMessage.FromString(request).fetch, context)

    introductions = Introductions(Roster(peers_of("n1", {"n2": 1}), RecordingSink()), RunsInMemory())

    server = grpc.aio.server()
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(handle)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {FETCH_METHOD: method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def open_files(path: Path) -> int:
    """How many descriptors of this process are open on `path`."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            found += link.readlink() == path
        except FileNotFoundError:
            continue
    return found


class HandDrivenFetch:
    """A receiver that reads when the test says so. hello: what it says of itself, see a_hello."""

    def __init__(self, port: int, request: peer_pb2.LinkMessage, **hello: Any) -> None:
        # The smallest window: what a receiver does not read soon holds the sender up.
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.http2.lookahead_bytes", 1 << 16),
            ("grpc.http2.bdp_probe", 0),
        ]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
        self.call: grpc.aio.StreamStreamCall[bytes, bytes] = self._channel.stream_stream(f"/{SERVICE}/{FETCH_METHOD}")()
        self._request, self._hello = request, a_hello(**hello)

    async def ask(self) -> peer_pb2.LinkMessage:
        """The handshake, then the request; the answer to Hello."""
        await self.call.write(self._hello.SerializeToString())
        answer = await self._hear()
        if answer.WhichOneof("body") == "welcome":
            proof = prove(ALL_SECRETS, Role.DIALLER, self._hello.SerializeToString(), answer.welcome.hello)
            await self.call.write(peer_pb2.LinkMessage(proof=proof).SerializeToString())
            await self.call.write(self._request.SerializeToString())
        return answer

    async def __aenter__(self) -> "HandDrivenFetch":
        """Asks, and goes on whatever the answer is."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            self.welcome = await self.ask()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()
        await self._channel.close()

    async def chunk(self) -> peer_pb2.SnapshotChunk:
        return (await self._hear()).chunk

    async def _hear(self) -> peer_pb2.LinkMessage:
        answer: Any = await self.call.read()
        assert answer is not grpc.aio.EOF, "expected a message, the stream ended"
        return peer_pb2.LinkMessage.FromString(answer)

    async def refusal(self) -> grpc.aio.AioRpcError:
        """Reads what was sent, up to the status, which must be an error."""
        try:
            async with asyncio.timeout(20):
                while await self.call.read() is not grpc.aio.EOF:
                    pass
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError("the stream ended in order")
