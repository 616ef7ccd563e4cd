"""Builders for tests of peer links: a sink that records, transports on free ports, a hand-driven peer."""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final

import grpc

from replicator.model.ids import ClusterId, LogIndex, NodeId, Region
from replicator.model.incarnation import RUN_ID_BYTES, Incarnation, KnownIncarnation
from replicator.model.members import DIRECTORY_ID_BYTES, GROUP_SECRET_BYTES, Member, Membership
from replicator.transport.handshake.known_peers import KnownPeers
from replicator.transport.handshake.proof import Role, Secrets, prove
from replicator.transport.peer_transport import PeerTransport
from replicator.transport.ports import IncarnationMemory, LinkSink
from replicator.transport.settings import LinkTimers, TransportSettings
from replicator.transport.streams import METHOD, SERVICE
from replicator.v1 import peer_pb2

FOUNDER: Final = b"a founder of all"
CLUSTER_SECRET: Final = b"what all nodes of a test's cluster share"
GROUP_SECRET: Final = b"what only members of a group hold"[:GROUP_SECRET_BYTES]
ALL_SECRETS: Final = Secrets(CLUSTER_SECRET, GROUP_SECRET)
REGION_OF = {"n1": "eu", "n2": "us", "n3": "ap"}
QUICK = LinkTimers(backoff_min_s=0.01, backoff_max_s=0.05, refused_backoff_max_s=0.05)


async def until(holds: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Waits on a condition, not on time; the timeout only ends a test that has failed."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0.005)


@dataclass
class RecordingSink:
    """Keeps every call, and asserts the order that LinkSink promises. `gate` closed holds the reader back."""

    calls: list[tuple[str, str, int]] = field(default_factory=list)
    frames: dict[str, list[bytes]] = field(default_factory=dict)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    up: dict[str, int] = field(default_factory=dict)
    directories: dict[str, bytes] = field(default_factory=dict)
    last_epoch: int = 0
    refused_by: dict[str, bytes] = field(default_factory=dict)
    superseded_by: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.gate.set()

    def link_up(self, peer: NodeId, epoch: int, directory_id: bytes) -> None:
        assert peer not in self.up, f"{peer} is up already"
        assert epoch > self.last_epoch, "epochs only grow"
        self.last_epoch = epoch
        self.up[peer] = epoch
        self.directories[peer] = directory_id
        self.calls.append(("up", peer, epoch))

    def note_refusal(self, peer: NodeId, founder: bytes) -> None:
        self.refused_by[peer] = founder

    def superseded(self, peer: NodeId, why: str) -> None:
        self.superseded_by[peer] = why

    def link_down(self, peer: NodeId, epoch: int) -> None:
        assert self.up.pop(peer) == epoch, "down pairs with up"
        self.calls.append(("down", peer, epoch))

    async def frame(self, peer: NodeId, epoch: int, payload: bytes) -> None:
        assert self.up.get(peer) == epoch, "frames come between up and down"
        await self.gate.wait()
        self.frames.setdefault(peer, []).append(payload)


class RunsInMemory:
    """An IncarnationMemory that forgets with the process: what a test is about is not the disk."""

    def __init__(self) -> None:
        self.runs: dict[NodeId, KnownIncarnation] = {}

    def known(self, node_id: NodeId) -> KnownIncarnation | None:
        return self.runs.get(node_id)

    async def note(self, node_id: NodeId, run: KnownIncarnation) -> None:
        self.runs[node_id] = run


def run_of(node: str, number: int = 1) -> Incarnation:
    """The run of a node's data directory that a test's node has unless the test says otherwise."""
    return Incarnation(number, f"run of {node}".encode().ljust(RUN_ID_BYTES, b"."))


def directory_of(node: str) -> bytes:
    """The id of the data directory that a node of this name has unless a test says otherwise."""
    return node.encode().ljust(DIRECTORY_ID_BYTES, b".")


def a_membership(
    ports: dict[str, int],
    *,
    index: int = 0,
    directories: dict[str, bytes] | None = None,
    founder: bytes = FOUNDER,
    secret: bytes = GROUP_SECRET,
) -> Membership:
    """ports: node id to the loopback port under which it is reached. directories: of those that the group knows."""
    members = [
        Member(
            NodeId(node),
            Region(REGION_OF.get(node, "eu")),
            f"127.0.0.1:{port}",
            "127.0.0.1:1",
            directory_id=(directories or {}).get(node, b""),
        )
        for node, port in sorted(ports.items())
    ]
    return Membership(LogIndex(index), tuple(members), founder, secret)


def peers_of(node: str, peers: dict[str, int], **changes: Any) -> KnownPeers:
    """The node's settings, with `changes`, and a membership of itself and `peers`, as in a_membership."""
    settings = TransportSettings(
        cluster_id=ClusterId("shop"),
        node_id=NodeId(node),
        region=Region(REGION_OF.get(node, "eu")),
        listen="127.0.0.1:0",
        directory_id=directory_of(node),
        incarnation=run_of(node),
        cluster_secret=CLUSTER_SECRET,
        timers=QUICK,
    )
    return KnownPeers(replace(settings, **changes), a_membership({node: 1} | peers))


class Links(AsyncExitStack):
    """Starts transports, and stops them all at the end of the test."""

    dice = random.Random(7)

    async def start(
        self, known_peers: KnownPeers, sink: LinkSink, memory: IncarnationMemory | None = None
    ) -> PeerTransport:
        transport = PeerTransport(
            known_peers.settings, sink, self.dice, known_peers.membership, memory or RunsInMemory()
        )
        self.push_async_callback(transport.stop, 0.5)
        await transport.start()
        return transport

    async def pair(self, **changes: Any) -> tuple[PeerTransport, RecordingSink, PeerTransport, RecordingSink]:
        """n1, which accepts, and n2, which dials; linked."""
        sink_1, sink_2 = RecordingSink(), RecordingSink()
        one = await self.start(peers_of("n1", {"n2": 1}, **changes), sink_1)
        two = await self.start(peers_of("n2", {"n1": one.bound_port}, **changes), sink_2)
        await until(lambda: is_linked(one, "n2") and is_linked(two, "n1"))
        return one, sink_1, two, sink_2


def is_linked(transport: PeerTransport, peer: str) -> bool:
    status = transport.links().get(NodeId(peer))
    return status is not None and status.connected


def a_hello(**changes: Any) -> peer_pb2.LinkMessage:
    """What n2 says to n1."""
    fields: dict[str, Any] = {
        "cluster_id": "shop",
        "node_id": "n2",
        "peer_id": "n1",
        "protocol_version": 3,
        "protocol_version_min": 3,
        "region": "us",
        "directory_id": directory_of("n2"),
        "founder": FOUNDER,
        "incarnation": 1,
        "run_id": run_of("n2").run_id,
        "nonce": b"a nonce of n2...",
    }
    return peer_pb2.LinkMessage(hello=peer_pb2.Hello(**(fields | changes)))


class HandDriven:
    """A peer whose every message the test writes itself."""

    def __init__(
        self,
        port: int,
        credentials: grpc.ChannelCredentials | None = None,
        target_name: str = "n1.node.shop.replicator",
        method: str = METHOD,
    ) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", target_name)]
        address = f"127.0.0.1:{port}"
        self._channel = (
            grpc.aio.insecure_channel(address, options=options)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, options=options)
        )
        self.call: grpc.aio.StreamStreamCall[bytes, bytes] = self._channel.stream_stream(f"/{SERVICE}/{method}")()

    async def __aenter__(self) -> "HandDriven":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()
        await self._channel.close()

    async def say(self, message: peer_pb2.LinkMessage) -> None:
        await self.call.write(message.SerializeToString())

    async def hear(self) -> peer_pb2.LinkMessage:
        answer: Any = await self.call.read()
        assert answer is not grpc.aio.EOF, "expected a message, the stream ended"
        return peer_pb2.LinkMessage.FromString(answer)

    async def shake_hands(self, **hello: Any) -> None:
        """As a node that holds all secrets."""
        said = a_hello(**hello)
        await self.say(said)
        answer = await self.hear()
        assert answer.WhichOneof("body") == "welcome", answer
        await self.prove(said, answer.welcome)

    async def prove(
        self, hello: peer_pb2.LinkMessage, welcome: peer_pb2.Welcome, secrets: Secrets = ALL_SECRETS
    ) -> None:
        proof = prove(secrets, Role.DIALLER, hello.SerializeToString(), welcome.hello)
        await self.say(peer_pb2.LinkMessage(proof=proof))
