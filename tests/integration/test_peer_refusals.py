"""Who is turned away from a peer port, and that both sides can read why."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from replicator.certificates import NodeCertificates
from replicator.model.errors import StartupError
from replicator.model.ids import NodeId
from replicator.transport.handshake.proof import Role, prove
from replicator.transport.streams import METHOD, SERVICE
from replicator.v1 import peer_pb2
from tests.support.authority import Authority, Issued, opened, tls_files
from tests.support.links import (
    ALL_SECRETS,
    QUICK,
    HandDriven,
    Links,
    RecordingSink,
    a_hello,
    directory_of,
    is_linked,
    peers_of,
    until,
)

Handler = Callable[[object, "grpc.aio.ServicerContext[bytes, bytes]"], Awaitable[None]]
N1, N2 = NodeId("n1"), NodeId("n2")


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    async with Links() as running:
        yield running


@pytest.fixture
def authority() -> Authority:
    return Authority()


def certificate(authority: Authority, folder: Path, name: str) -> NodeCertificates:
    """Those of node `name`, which a test may give to another."""
    return opened(tls_files(folder / f"{name}-{id(authority)}", authority.pem, authority.node(name)), name)


def warnings(caplog: pytest.LogCaptureFixture, start: str) -> list[str]:
    return [r.message for r in caplog.records if r.levelno == logging.WARNING and r.message.startswith(start)]


@pytest.mark.parametrize(
    ("acceptor", "dialler", "reason", "named"),
    [
        ({}, {"cluster_id": "warehouse"}, "CLUSTER_MISMATCH", ["'warehouse'", "'shop'"]),
        ({"node_id": NodeId("n0")}, {}, "WRONG_NODE", ["'n1'", "'n0'"]),
        ({}, {"node_id": NodeId("n7")}, "NOT_A_MEMBER", ["'n7'", "'n2'"]),
    ],
)
async def test_a_refused_peer_is_a_warning_on_both_sides_with_both_values(
    links: Links,
    caplog: pytest.LogCaptureFixture,
    acceptor: dict[str, Any],
    dialler: dict[str, Any],
    reason: str,
    named: list[str],
) -> None:
    """And it is said once, however often the peer returns."""
    caplog.set_level(logging.DEBUG, "replicator.transport")
    sink_1, sink_2 = RecordingSink(), RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}, **acceptor), sink_1)
    two = await links.start(peers_of("n2", {"n1": one.bound_port}, **dialler), sink_2)

    await until(lambda: sum(r.message.startswith("refused by peer=n1") for r in caplog.records) >= 3)

    for line in ("refusing peer=", "refused by peer=n1"):
        said = warnings(caplog, line)
        assert len(said) == 1, said
        assert reason in said[0]
        assert [value for value in named if value not in said[0]] == []
    status = two.links()[N1]
    assert not status.connected
    assert status.last_refusal is not None
    assert reason in status.last_refusal
    assert sink_1.calls == sink_2.calls == []


@pytest.mark.parametrize(("version", "version_min"), [(5, 4), (0, 0)])
async def test_a_peer_of_another_protocol_version_is_refused(
    links: Links, caplog: pytest.LogCaptureFixture, version: int, version_min: int
) -> None:
    one = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    async with HandDriven(one.bound_port) as peer:
        await peer.say(a_hello(protocol_version=version, protocol_version_min=version_min))
        refusal = (await peer.hear()).refusal
        assert refusal.reason == "PROTOCOL_VERSION"
        assert "upgrade" in refusal.message
        assert await peer.call.read() is grpc.aio.EOF
    assert len(warnings(caplog, "refusing peer='n2'")) == 1
    assert one.links()[N2].last_refusal is not None


def a_welcome(hello: peer_pb2.LinkMessage, first: bytes = b"") -> peer_pb2.LinkMessage:
    """What an acceptor answers to the message `first`."""
    own = hello.hello.SerializeToString()
    proof = prove(ALL_SECRETS, Role.ACCEPTOR, first, own)
    return peer_pb2.LinkMessage(welcome=peer_pb2.Welcome(hello=own, proof=proof))


@asynccontextmanager
async def a_peer_port(handler: Handler) -> AsyncIterator[int]:
    """A server whose every answer the test writes itself; yields its port."""
    server = grpc.aio.server()
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(handler)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def test_the_dialler_refuses_a_newer_acceptor_and_tells_it(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    heard: asyncio.Queue[peer_pb2.LinkMessage] = asyncio.Queue()

    async def newer(_: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        await context.read()
        answer = a_hello(node_id="n1", peer_id="n2", region="eu", protocol_version=9, protocol_version_min=9)
        await context.write(a_welcome(answer).SerializeToString())
        heard.put_nowait(peer_pb2.LinkMessage.FromString(await context.read()))

    async with a_peer_port(newer) as port:
        two = await links.start(peers_of("n2", {"n1": port}), RecordingSink())
        async with asyncio.timeout(20):
            refusal = (await heard.get()).refusal
        assert refusal.reason == "PROTOCOL_VERSION"
        await until(lambda: len(warnings(caplog, "refusing peer=n1")) == 1)
        assert not is_linked(two, "n1")
        await two.stop(0.2)


@pytest.mark.parametrize("after_hello", [False, True])
async def test_a_dialler_outlives_streams_that_the_other_side_cancels(links: Links, after_hello: bool) -> None:
    """Status CANCELLED from afar is a lost link, never a cancelled task."""
    tries = 0

    async def cancelling(_: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        nonlocal tries
        tries += 1
        first = await context.read()
        if after_hello:
            answer = a_hello(node_id="n1", peer_id="n2", region="eu", directory_id=directory_of("n1"))
            await context.write(a_welcome(answer, first).SerializeToString())
            await context.read()
        context.set_code(grpc.StatusCode.CANCELLED)

    async with a_peer_port(cancelling) as port:
        sink = RecordingSink()
        two = await links.start(peers_of("n2", {"n1": port}), sink)
        await until(lambda: tries >= 3)
        await two.stop(0.2)
    assert bool(sink.calls) is after_hello


async def test_an_acceptor_that_is_refused_after_its_hello_logs_it(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}), sink)
    async with HandDriven(one.bound_port) as peer:
        await peer.shake_hands()
        await peer.say(
            peer_pb2.LinkMessage(refusal=peer_pb2.Refusal(reason="PROTOCOL_VERSION", message="9 to 9, not 1"))
        )
        await until(lambda: len(sink.calls) == 2)
    assert warnings(caplog, "refused by peer=n2") == ["refused by peer=n2: PROTOCOL_VERSION: 9 to 9, not 1"]


async def test_another_region_than_configured_is_a_warning_and_no_more(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    one = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    async with HandDriven(one.bound_port) as peer:
        await peer.say(a_hello(region="mars"))
        welcome = (await peer.hear()).welcome
        await peer.prove(a_hello(region="mars"), welcome)
        await until(lambda: is_linked(one, "n2"))
    assert "'mars'" in warnings(caplog, "node 'n2'")[0]


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (peer_pb2.LinkMessage(frame=b"x").SerializeToString(), "first message must be Hello, got frame"),
        (b"\xff\xff\xff\xff", "malformed message of 4 bytes"),
        (b"cos\nsystem\n(S'true'\ntR.", "malformed message|without a known body"),
        (b"", "without a known body"),
    ],
)
async def test_a_stream_that_does_not_begin_with_hello_is_turned_away(
    links: Links, caplog: pytest.LogCaptureFixture, first: bytes, why: str
) -> None:
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}), sink)
    async with HandDriven(one.bound_port) as peer:
        await peer.call.write(first)
        with pytest.raises(grpc.aio.AioRpcError, match=why) as refused:
            await peer.call.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(warnings(caplog, "turned away a stream from=ipv4:127.0.0.1")) == 1
    assert sink.calls == []


@pytest.mark.parametrize("message", [b"\xff\xff\xff\xff", a_hello().SerializeToString()])
async def test_nonsense_on_an_established_link_closes_it(
    links: Links, caplog: pytest.LogCaptureFixture, message: bytes
) -> None:
    caplog.set_level(logging.INFO, "replicator.transport")
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}), sink)
    async with HandDriven(one.bound_port) as peer:
        await peer.shake_hands()
        await peer.call.write(message)
        await until(lambda: sink.calls == [("up", "n2", 1), ("down", "n2", 1)])
    assert "link down peer=n2 epoch=1 why=" in caplog.text
    assert "malformed message" in caplog.text or "unexpected hello" in caplog.text


async def test_a_silent_stream_is_turned_away_after_the_hello_timeout(links: Links) -> None:
    timers = replace(QUICK, hello_s=0.2)
    one = await links.start(peers_of("n1", {"n2": 1}, timers=timers), RecordingSink())
    async with HandDriven(one.bound_port) as silent:
        with pytest.raises(grpc.aio.AioRpcError, match="no Hello and proof within") as refused:
            await silent.call.read()
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_mutual_tls_links_nodes_whose_certificates_name_them(
    links: Links, authority: Authority, tmp_path: Path
) -> None:
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}, tls=certificate(authority, tmp_path, "n1")), sink)
    tls = certificate(authority, tmp_path, "n2")
    two = await links.start(peers_of("n2", {"n1": one.bound_port}, tls=tls), RecordingSink())
    await until(lambda: is_linked(two, "n1"))
    assert two.send(N1, b"under seal")
    await until(lambda: sink.frames.get("n2") == [b"under seal"])


async def test_a_valid_certificate_of_another_node_is_refused_on_both_sides(
    links: Links, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}, tls=certificate(authority, tmp_path, "n1")), sink)
    stolen = certificate(authority, tmp_path, "n3")
    two = await links.start(peers_of("n2", {"n1": one.bound_port}, tls=stolen), RecordingSink())
    await until(lambda: two.links()[N1].last_refusal is not None)
    for line in (*warnings(caplog, "refusing peer='n2'"), *warnings(caplog, "refused by peer=n1")):
        assert "IDENTITY" in line
        assert "'n2'" in line
        assert "lacks the DNS name 'n2.node.shop.replicator' (SAN): issue one" in line
        assert "'CN=n3', for 'n3.node.shop.replicator'" in line
    assert len(warnings(caplog, "refus")) == 2
    assert sink.calls == []


@pytest.mark.parametrize(
    ("issued", "lacks"),
    [
        (lambda authority: authority.client("shop"), "(SAN) and server use (serverAuth)"),
        (lambda authority: authority.issue("n2", "n2"), "(SAN)"),
        (lambda authority: authority.node("n2", "warehouse"), "(SAN)"),
        (lambda authority: authority.node("n3"), "(SAN)"),
    ],
    ids=["api-client", "bare-node-id", "another-cluster", "another-node"],
)
async def test_who_has_a_certificate_of_the_authority_but_not_that_of_the_node_is_refused_at_once(
    links: Links, authority: Authority, tmp_path: Path, issued: Callable[[Authority], Issued], lacks: str
) -> None:
    """Its first message is its last, whatever it claims in it; the answer names the name to put in."""
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}, tls=certificate(authority, tmp_path, "n1")), sink)
    shown = issued(authority)
    credentials = grpc.ssl_channel_credentials(authority.pem, shown.key, shown.certificate)
    for claim in ({}, {"node_id": "n7", "membership_index": 2**63}):
        async with HandDriven(one.bound_port, credentials) as peer:
            await peer.say(a_hello(**claim))
            async with asyncio.timeout(20):
                answer = await peer.hear()
                assert await peer.call.read() is grpc.aio.EOF
        assert answer.WhichOneof("body") == "refusal"
        if not claim:
            assert answer.refusal.reason == "IDENTITY"
            assert f"lacks the DNS name 'n2.node.shop.replicator' {lacks}: issue one" in answer.refusal.message
    assert sink.calls == []


async def test_an_acceptor_with_the_certificate_of_another_node_is_not_linked(
    links: Links, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = await links.start(peers_of("n1", {"n2": 1}, tls=certificate(authority, tmp_path, "n3")), RecordingSink())
    tls = certificate(authority, tmp_path, "n2")
    two = await links.start(peers_of("n2", {"n1": one.bound_port}, tls=tls), RecordingSink())
    await until(lambda: len(warnings(caplog, "cannot link peer=n1")) > 0)
    assert not is_linked(two, "n1")
    line = warnings(caplog, "cannot link peer=n1")[0]
    assert "the certificate shown there is for another name than n1.node.shop.replicator" in line


async def test_a_certificate_of_another_authority_is_refused(
    links: Links, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In both directions: the dialler trusts the acceptor's authority here, but is not trusted by it."""
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}, tls=certificate(authority, tmp_path, "n1")), sink)
    foreign = opened(tls_files(tmp_path / "foreign", authority.pem, Authority("another").node("n2")), "n2")
    two = await links.start(peers_of("n2", {"n1": one.bound_port}, tls=foreign), RecordingSink())
    await until(lambda: len(warnings(caplog, "cannot link peer=n1")) > 0)
    assert "may be of an authority that is not trusted there" in warnings(caplog, "cannot link peer=n1")[0]
    assert not is_linked(two, "n1")
    assert sink.calls == []


async def test_a_plaintext_node_cannot_reach_a_tls_port(
    links: Links, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}, tls=certificate(authority, tmp_path, "n1")), sink)
    two = await links.start(peers_of("n2", {"n1": one.bound_port}), RecordingSink())
    await until(lambda: len(warnings(caplog, "cannot link peer=n1")) > 0)
    assert not is_linked(two, "n1")
    assert sink.calls == []


async def test_an_address_of_another_machine_cannot_be_bound(
    links: Links, authority: Authority, tmp_path: Path
) -> None:
    settings = peers_of("n1", {"n2": 1}, listen="192.0.2.1:0", tls=certificate(authority, tmp_path, "n1"))
    with pytest.raises(StartupError, match=r"^listen\.peer: 192\.0\.2\.1:0 cannot be bound \(.*\): choose an address"):
        await links.start(settings, RecordingSink())


async def test_a_client_without_a_certificate_is_refused(links: Links, authority: Authority, tmp_path: Path) -> None:
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}, tls=certificate(authority, tmp_path, "n1")), sink)
    bare = grpc.ssl_channel_credentials(authority.pem)
    async with HandDriven(one.bound_port, bare) as peer:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await peer.shake_hands()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert sink.calls == []


async def test_dialling_a_port_that_is_no_peer_port_says_so(links: Links, caplog: pytest.LogCaptureFixture) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        two = await links.start(peers_of("n2", {"n1": port}), RecordingSink())
        await until(lambda: len(warnings(caplog, "cannot link peer=n1")) > 0)
        assert "no peer port listens there" in warnings(caplog, "cannot link peer=n1")[0]
        await two.stop(0.2)
    finally:
        await server.stop(None)
