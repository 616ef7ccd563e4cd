"""The admin port over real HTTP on loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from replicator.console import Console
from replicator.console.pages import ProbeAnswer, admin_app
from replicator.model.errors import StartupError


@dataclass
class ANode:
    """Answers what the test tells it to."""

    live_answer: ProbeAnswer = field(default_factory=lambda: ProbeAnswer(True, "live"))
    ready_answer: ProbeAnswer = field(default_factory=lambda: ProbeAnswer(False, "catching up"))
    started_answer: ProbeAnswer = field(default_factory=lambda: ProbeAnswer(True, "started"))

    def live(self) -> ProbeAnswer:
        return self.live_answer

    def ready(self) -> ProbeAnswer:
        return self.ready_answer

    def started(self) -> ProbeAnswer:
        return self.started_answer


@pytest.fixture
def node() -> ANode:
    return ANode()


@pytest.fixture
async def address(node: ANode) -> AsyncIterator[str]:
    console = Console(admin_app(node, lambda: (b"a_metric 1\n", "text/plain; version=0.0.4; charset=utf-8")))
    yield console.start("127.0.0.1:0")
    await console.stop()


async def fetch(address: str, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, headers and body of one request on a connection of its own."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
    answer = (await asyncio.wait_for(reader.read(), timeout=10)).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), head.lower(), body


async def test_a_probe_answers_200_with_the_word_or_503_with_the_reason(address: str, node: ANode) -> None:
    assert (await fetch(address, "/livez"))[::2] == (200, "live\n")
    assert (await fetch(address, "/readyz"))[::2] == (503, "catching up\n")

    node.ready_answer = ProbeAnswer(True, "ready")

    assert (await fetch(address, "/readyz"))[::2] == (200, "ready\n")
    assert (await fetch(address, "/startupz"))[::2] == (200, "started\n")


async def test_metrics_come_with_their_content_type(address: str) -> None:
    status, head, body = await fetch(address, "/metrics")

    assert (status, body) == (200, "a_metric 1\n")
    assert "content-type: text/plain; version=0.0.4; charset=utf-8" in head


async def test_the_index_names_every_page(address: str) -> None:
    _, _, body = await fetch(address, "/")

    for page in ("/livez", "/readyz", "/startupz", "/metrics"):
        assert page in body


async def test_nothing_can_be_changed_and_nothing_else_is_there(address: str) -> None:
    assert (await fetch(address, "/readyz", method="POST"))[0] == 405
    assert (await fetch(address, "/etc/passwd"))[0] == 404


async def test_a_port_in_use_is_one_line_that_names_the_field_and_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        console = Console(admin_app(ANode(), lambda: (b"", "text/plain")))

        with pytest.raises(StartupError) as refusal:
            console.start(address)

    assert str(refusal.value) == (
        f"listen.admin: cannot bind {address}: Address already in use; stop what uses the port, or set another address"
    )
    await console.stop()


async def test_stop_does_not_wait_for_a_client_that_never_sends_its_request() -> None:
    console = Console(admin_app(ANode(), lambda: (b"", "text/plain")))
    host, _, port = console.start("127.0.0.1:0").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /livez HT")
    await writer.drain()

    await asyncio.wait_for(console.stop(), timeout=10)

    writer.close()
    del reader


async def test_a_stopped_console_leaves_its_port_free() -> None:
    first = Console(admin_app(ANode(), lambda: (b"", "text/plain")))
    address = first.start("127.0.0.1:0")
    await first.stop()

    second = Console(admin_app(ANode(), lambda: (b"", "text/plain")))
    assert second.start(address) == address
    assert (await fetch(address, "/livez"))[0] == 200
    await second.stop()
