"""HTTP/2 by hand (RFC 9113), for clients that send half, read nothing, or ignore the rules."""

import asyncio
import contextlib
import struct
from types import TracebackType
from typing import Final, Self

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE: Final = 4


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


def headers(stream: int, method: str, flags: int = END_HEADERS, extra: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The head of a gRPC call: literal fields without an index (RFC 7541, 6.2.2). A surrogate escape is its byte."""
    fields = (
        (":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "a"),
        ("content-type", "application/grpc"), ("te", "trailers"), *extra,
    )  # fmt: skip
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)
    return frame(HEADERS, flags, stream, block)


def _text(text: str) -> bytes:
    data = text.encode(errors="surrogateescape")
    assert len(data) < 127, "one byte of length"
    return bytes([len(data)]) + data


def grpc_message(data: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(data)) + data


class RawHttp2:
    """One connection. begins: with a preface. reads: takes what the node sends, acknowledges pings and settings."""

    def __init__(self, port: int, *, window: int = 65_535, begins: bool = True, reads: bool = True) -> None:
        self._port = port
        self._window = window
        self._begins = begins
        self._reads = reads
        self._reading: asyncio.Task[None] | None = None
        self.heard: list[tuple[int, int, bytes]] = []  # kind, stream, payload
        self.ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 16)
        if self._begins:
            self._writer.write(PREFACE + settings((INITIAL_WINDOW_SIZE, self._window)))
        if self._reads:
            self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def say(self, data: bytes) -> None:
        """Raises ConnectionError once the node has ended the connection."""
        self._writer.write(data)
        await self._writer.drain()

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await self._reader.readexactly(9)
                length, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
                stream = int.from_bytes(head[5:]) & 0x7FFFFFFF
                payload = await self._reader.readexactly(length)
                self.heard.append((kind, stream, payload if kind != DATA else b""))
                if kind == SETTINGS and not flags & ACK:
                    self._writer.write(frame(SETTINGS, ACK))
                elif kind == PING and not flags & ACK:
                    self._writer.write(frame(PING, ACK, 0, payload))
        self.ended.set()
