"""A real TLS port: handshakes that fail, and connections that only look, are counted; callers are not."""

import asyncio
import logging
import ssl
import time
from contextlib import suppress
from pathlib import Path

import pytest

import replicator
from replicator.api.interceptors.first_calls import SETTLE_S
from tests.support.api_nodes import an_api_server
from tests.support.authority import Authority, client_tls, opened, tls_files
from tests.support.links import until
from tests.support.memory_cluster import MemoryCluster

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def dial(port: int, *, tls: bool) -> None:
    """Without a certificate, or without TLS; until the node hangs up."""
    context = None
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(PREFACE)
        with suppress(OSError):
            await asyncio.wait_for(reader.read(), 60.0)
        writer.close()


async def test_refused_handshakes_are_counted_and_said_and_callers_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority()
    files = tls_files(tmp_path / "n1", authority.pem, authority.node("n1"))
    server = an_api_server(MemoryCluster().add("n1", "eu"), tls=opened(files, "n1"))
    await server.start()
    seen = server._first_calls

    def silent() -> list[str]:
        seen.look()
        said = [record.getMessage() for record in caplog.records if "that sent no call" in record.getMessage()]
        return [line.rpartition("; ")[2] for line in said]

    try:
        with caplog.at_level(logging.WARNING):
            known = client_tls(tmp_path / "app", authority.pem, authority.client("app"))
            async with replicator.connect([f"127.0.0.1:{server.bound_port}"], tls=known, timeout_s=60.0) as client:
                await client.put(b"k", b"v")
            seen._now_s = lambda: time.monotonic() + SETTLE_S + 1.0
            assert silent() == []
            seen._now_s = time.monotonic
            for tls in (True, True, False):
                await dial(server.bound_port, tls=tls)
            await until(lambda: len(seen._begun) == 3)
            seen._now_s = lambda: time.monotonic() + SETTLE_S + 1.0
            assert silent() == ["times=3"]
    finally:
        await server.stop(0.0)
