"""What gRPC says of TLS connections that fail, and when it asks a server for new certificates: relied on, so held."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from replicator.certificates import Identity
from replicator.certificates.explaining import why_tls_failed
from replicator.certificates.grpc_credentials import channel_credentials, server_credentials
from tests.support.authority import DAY, Authority, Issued

ONE, NAMESAKE, OTHER = Authority("one"), Authority("one"), Authority("other")


@asynccontextmanager
async def a_server(credentials: grpc.ServerCredentials | None) -> AsyncIterator[int]:
    """Its port; it answers what it is sent, message by message."""

    async def echo(_: object, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(message)

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("S", handlers),))
    address = "127.0.0.1:0"
    port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0.0)


def a_channel(port: int, identity: Identity) -> grpc.aio.Channel:
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", channel_credentials(identity), options=options)


async def said_of(port: int, identity: Identity) -> str:
    """The details of a call that fails for want of a connection."""
    async with a_channel(port, identity) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await _call(channel)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    return failed.value.details() or ""


async def _call(channel: grpc.aio.Channel) -> bytes:
    echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/S/Echo")
    return await echo(b"", timeout=20)


def shown_by(issued: Issued, *, require_client: bool = False) -> grpc.ServerCredentials:
    identity = Identity(ONE.pem, issued.certificate, issued.key)
    return server_credentials(lambda: identity, require_client=require_client)


@pytest.mark.parametrize(
    ("issued", "meaning"),
    [
        (ONE.node("n1", begins=-2 * DAY, ends=-DAY), "has expired: renew it there"),
        (ONE.node("n1", begins=DAY, ends=2 * DAY), "not yet valid, or a clock is wrong"),
        (OTHER.node("n1"), "wrong authority"),
        (NAMESAKE.node("n1"), "wrong authority"),
        (ONE.issue("n1", "localhost", for_server=False), "not for server use (serverAuth)"),
    ],
    ids=["expired", "not-yet", "foreign", "namesake", "client-use-only"],
)
async def test_a_certificate_that_does_not_hold_is_told_from_the_others(issued: Issued, meaning: str) -> None:
    async with a_server(shown_by(issued)) as port:
        details = await said_of(port, Identity(ONE.pem))
    assert meaning in str(why_tls_failed(details, name="127.0.0.1", own_flaw=None, has_own=False)), details


async def test_a_port_without_tls_is_told() -> None:
    async with a_server(None) as port:
        details = await said_of(port, Identity(ONE.pem))
    why = why_tls_failed(details, name="x", own_flaw=None, has_own=False)
    assert why == "there is no TLS on that port", details


async def test_new_certificates_count_for_new_connections_and_connections_that_are_up_stay() -> None:
    def identity(authority: Authority, *trusted: Authority) -> Identity:
        issued = authority.node("n1")
        return Identity(b"".join(each.pem for each in trusted), issued.certificate, issued.key)

    def mine(authority: Authority) -> Identity:
        issued = authority.client("app")
        return Identity(ONE.pem + OTHER.pem, issued.certificate, issued.key)

    in_force = identity(ONE, ONE)
    async with a_server(server_credentials(lambda: in_force, require_client=True)) as port:
        early = a_channel(port, mine(ONE))
        stream: grpc.aio.StreamStreamCall[bytes, bytes] = early.stream_stream("/S/Echo")()
        await echoes(stream)
        for in_force, accepted, refused in (  # noqa: B007  # read by the server
            (identity(ONE, ONE, OTHER), (ONE, OTHER), ()),
            (identity(OTHER, ONE, OTHER), (ONE, OTHER), ()),
            (identity(OTHER, OTHER), (OTHER,), (ONE,)),
        ):
            for authority in accepted:
                async with a_channel(port, mine(authority)) as channel:
                    await echoes(channel.stream_stream("/S/Echo")())
            for authority in refused:
                assert "Socket closed" in await said_of(port, mine(authority))
            await echoes(stream)
        stream.cancel()
        await early.close()


async def echoes(stream: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
    async with asyncio.timeout(20):
        await stream.write(b"x")
        answer: Any = await stream.read()
    assert answer == b"x"
