"""Hostile clients of the admin port over real sockets: whatever they hold or withhold, the next probe is answered."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from replicator.console import Console, bounded_http
from replicator.console.pages import admin_app
from tests.unit.console.test_console import ANode, fetch

WAIT_S = 30.0
LARGE = b"# a line of metrics\n" * (1 << 18)  # more than the buffers of both sockets


@pytest.fixture
async def address() -> AsyncIterator[str]:
    console = Console(admin_app(ANode(), lambda: (LARGE, "text/plain")))
    yield console.start("127.0.0.1:0")
    await console.stop()


class Connections:
    """Open until the test ends."""

    def __init__(self, address: str) -> None:
        self._port = int(address.rpartition(":")[2])
        self._open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def say(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 10)
        self._open.append((reader, writer))
        writer.write(data)
        return reader, writer

    def close(self) -> None:
        for _, writer in self._open:
            writer.close()


@pytest.fixture
async def connections(address: str) -> AsyncIterator[Connections]:
    opened = Connections(address)
    yield opened
    opened.close()


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """What came until the node ended the connection, which it must."""
    heard = b""
    try:
        async with asyncio.timeout(WAIT_S):
            while data := await reader.read(1 << 16):
                heard += data
    except ConnectionError:
        pass
    return heard


@pytest.mark.parametrize("said", [b"", b"GET /livez HTTP/1.1\r\nhost:", b"GET /livez HTTP/1.1\r\n" + b"x: y\r\n" * 500])
async def test_half_sent_requests_leave_room_for_a_probe(address: str, connections: Connections, said: bytes) -> None:
    for _ in range(3 * bounded_http.CONNECTIONS_MAX):
        await connections.say(said)

    for _ in range(5):
        assert (await fetch(address, "/livez"))[0] == 200


async def test_a_request_that_never_ends_is_ended_however_slowly_it_comes(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_http, "REQUEST_S_MAX", 0.5)
    reader, writer = await connections.say(b"GET /livez HTTP/1.1\r\n")

    async def trickle() -> None:
        while True:
            writer.write(b"a")
            await asyncio.sleep(0.05)

    trickling = asyncio.create_task(trickle())
    assert await end_of(reader) == b""
    trickling.cancel()


async def test_an_answer_that_nobody_reads_is_given_up(
    address: str, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_http, "ANSWER_S_MAX", 0.5)
    monkeypatch.setattr(bounded_http, "REQUEST_S_MAX", 0.5)
    await connections.say(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
    cut = asyncio.get_running_loop().time() + WAIT_S

    while open_on(address):  # the reader of this test has taken what its own buffer holds, and no more
        assert asyncio.get_running_loop().time() < cut, "the connection is still held"
        await asyncio.sleep(0.05)


def open_on(address: str) -> bool:
    """Whether the admin port holds an established connection; both ends are in this process."""
    port = int(address.rpartition(":")[2])
    with open("/proc/self/net/tcp", encoding="ascii") as table:  # noqa: PTH123
        rows = [line.split() for line in table][1:]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


async def test_malformed_requests_get_400_and_a_line_now_and_then(
    address: str, connections: Connections, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        reader, _ = await connections.say(b"\x00\xff nonsense\r\n\r\n")
        assert (await end_of(reader)).startswith(b"HTTP/1.1 400")

    said = [record for record in caplog.records if record.levelname != "DEBUG"]
    assert [record.getMessage() for record in said] == ["listen.admin: malformed requests from=127.0.0.1 times=1"]


async def test_what_is_malformed_behind_a_sound_request_leaves_no_traceback(
    address: str, connections: Connections, caplog: pytest.LogCaptureFixture
) -> None:
    reader, _ = await connections.say(
        b"GET /livez HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n"
    )
    await end_of(reader)

    assert (await fetch(address, "/livez"))[0] == 200
    assert [record for record in caplog.records if record.exc_info] == []
