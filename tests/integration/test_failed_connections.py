"""A caller that gets no connection reads why, and what to do; a proxy for the web is asked only on request."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import replicator
from tests.support.api_nodes import an_api_server, free_address, serving
from tests.support.authority import Authority, client_tls, opened, tls_files
from tests.support.memory_cluster import MemoryCluster
from tests.support.real_nodes import run_cli

NOBODY = "127.0.0.1:9"  # of a proxy that does not answer
AUTHORITY = Authority()


async def why(address: str, tls: replicator.ClientTls | None = None) -> str:
    """The message of a call that finds no connection to `address`."""
    async with replicator.connect([address], tls=tls, timeout_s=4.0) as client:
        with pytest.raises(replicator.Unavailable) as failed:
            await client.put(b"k", b"v")
    assert failed.value.applied == "no"
    return failed.value.message.removeprefix(f"cannot connect to {address}: ")


@asynccontextmanager
async def listening(answer: bytes | None) -> AsyncIterator[str]:
    """Something else than a node. answer: to the first bytes, then it hangs up; None: it says nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer is not None:
            await reader.read(1)
            writer.write(answer)
            await writer.drain()
        else:
            await reader.read()  # until the caller gives up
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


async def test_tls_on_one_side_only_is_told_to_either_side(tmp_path: Path) -> None:
    node = MemoryCluster().add("n1", "eu")
    server = an_api_server(node, tls=opened(tls_files(tmp_path / "n1", AUTHORITY.pem, AUTHORITY.node("n1")), "n1"))
    await server.start()
    try:
        assert "may speak TLS only (give ca_file, or --cacert)" in await why(f"127.0.0.1:{server.bound_port}")
    finally:
        await server.stop(0.0)
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    async with serving(cluster) as (api,):
        mine = client_tls(tmp_path / "app", AUTHORITY.pem, AUTHORITY.client("app"))
        assert await why(api.address, mine) == "there is no TLS on that port"


async def test_a_port_without_listener_and_a_name_without_address_are_told_apart() -> None:
    assert (await why(free_address())).startswith("connection refused: nothing listens on that port; is the node up?")
    assert (await why("no-such-node.invalid:7001")).startswith("the name cannot be resolved; check its spelling")


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "does not speak gRPC; is it the API port"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak gRPC; is it the API port"),
        (b"", "closed without an answer: the port may speak TLS only"),
        (None, "no answer in time; a firewall may drop packets"),
    ],
    ids=["http", "ssh", "closed", "silent"],
)
async def test_a_port_of_something_else_is_told(answer: bytes | None, meaning: str) -> None:
    async with listening(answer) as address:
        assert meaning in await why(address)


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy"])
async def test_a_proxy_for_the_web_is_not_asked(variable: str) -> None:
    """Neither by the SDK nor by a command."""
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    environment = {**os.environ, variable: f"http://{NOBODY}"}
    async with serving(cluster) as (api,):
        put = await asyncio.to_thread(run_cli, "put", "k", "v", "--endpoints", api.address, environment=environment)
    assert put.code == 0, put.stderr


async def test_a_proxy_for_grpc_is_asked() -> None:
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    environment = {**os.environ, "grpc_proxy": f"http://{NOBODY}"}
    environment.pop("no_grpc_proxy", None)
    environment.pop("no_proxy", None)
    async with serving(cluster) as (api,):
        put = await asyncio.to_thread(run_cli, "put", "k", "v", "--endpoints", api.address, environment=environment)
    assert put.code == 3
    assert f"cannot connect to {api.address}: through the proxy of grpc_proxy: connection refused" in put.stderr


def by_sdk(address: str) -> str:
    with pytest.raises(replicator.InvalidArgument) as refused:
        replicator.connect([address])
    return refused.value.message


def by_cli(address: str) -> str:
    refused = run_cli("get", "k", "--endpoints", address)
    assert refused.code == 2
    return refused.stderr


@pytest.mark.parametrize("message_of", [by_sdk, by_cli])
def test_an_address_that_is_none_is_refused_with_the_one_that_is_meant(message_of: Callable[[str], Any]) -> None:
    assert "'http://eu:7001' begins with 'http://': leave that out, and write eu:7001" in message_of("http://eu:7001")
    assert "'::1:7001' is an IPv6 address without brackets: write [::1]:7001" in message_of("::1:7001")
    assert "'eu' has no port" in message_of("eu")
