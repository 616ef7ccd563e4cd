"""The admin port over TLS, and a new certificate for it while it serves."""

import asyncio
import ssl
from pathlib import Path

from replicator.certificates import Identity, facts_of
from replicator.certificates.contexts import load, server_context
from replicator.console import Console
from replicator.console.pages import admin_app
from tests.support.authority import Authority, Issued
from tests.unit.console.test_console import ANode


def identity(authority: Authority, issued: Issued) -> Identity:
    return Identity(authority.pem, issued.certificate, issued.key)


async def dial(address: str, authority: Authority) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cadata=authority.pem.decode())
    return await asyncio.open_connection(host, int(port), ssl=context, server_hostname="127.0.0.1")


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """One probe on a connection that stays open."""
    writer.write(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(b"live\n"))
    return head.split(b"\r\n")[0]


def shown_to(writer: asyncio.StreamWriter) -> str:
    pem = ssl.DER_cert_to_PEM_cert(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    return facts_of(pem.encode()).subject


async def test_a_new_certificate_is_shown_to_new_connections_and_the_others_stay(tmp_path: Path) -> None:
    first, second = Authority("first"), Authority("second")
    context = server_context(identity(first, first.node("eu-1")))
    console = Console(admin_app(ANode(), lambda: (b"", "text/plain")), context)
    address = console.start("127.0.0.1:0")
    try:
        before = await dial(address, first)
        assert b"200" in await ask(*before)
        load(context, identity(second, second.node("eu-1-renewed")))
        after = await dial(address, second)
        assert shown_to(after[1]) == "CN=eu-1-renewed"
        assert b"200" in await ask(*after)
        assert b"200" in await ask(*before)
        for _, writer in (before, after):
            writer.close()
    finally:
        await console.stop()
