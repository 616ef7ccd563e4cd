"""A userspace TCP proxy that makes loopback long: every byte arrives `one_way_s` later, as much of it as is sent.

It delays, it does not throttle: bytes under way are bounded only by what the two ends allow each other.
"""

import asyncio
import contextlib
from collections import deque
from typing import Final

CHUNK_BYTES: Final = 256 << 10
UNDER_WAY_BYTES_MAX: Final = 64 << 20  # far beyond any window under test


class DelayProxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target_port`. While frozen, nothing arrives and nobody is told."""

    def __init__(self, target_port: int, one_way_s: float = 0.0) -> None:
        self._target_port = target_port
        self._one_way_s = one_way_s
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where to dial."""
        assert self._server is not None, "start first"
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> "DelayProxy":
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def freeze(self) -> None:
        """Black-holes both directions: connections stay open, bytes stop."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Bytes flow again, held ones first."""
        self._thawed.set()

    async def _accepted(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_in, far_out = await asyncio.open_connection("127.0.0.1", self._target_port)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_Direction(near_in, far_out, self._one_way_s, self._thawed).run())
                    both.create_task(_Direction(far_in, near_out, self._one_way_s, self._thawed).run())
            finally:
                far_out.close()
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # one end hung up, or the proxy closes: so do both ends; streams.py wants no cancelled handler
        finally:
            near_out.close()
            self._tasks.discard(task)


class _Direction:
    """One half of a connection."""

    def __init__(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, one_way_s: float, thawed: asyncio.Event
    ) -> None:
        self._source = source
        self._sink = sink
        self._one_way_s = one_way_s
        self._thawed = thawed
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._under_way_bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False

    async def run(self) -> None:
        """Until the source ends; raises ConnectionError when either end breaks."""
        taking = asyncio.create_task(self._take())
        try:
            await self._deliver()
            await taking
        finally:
            taking.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await taking
        raise ConnectionResetError("the source ended")

    async def _take(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while chunk := await self._source.read(CHUNK_BYTES):
                self._under_way.append((loop.time() + self._one_way_s, chunk))
                self._under_way_bytes += len(chunk)
                self._changed.set()
                if self._under_way_bytes > UNDER_WAY_BYTES_MAX:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._ended = True
            self._changed.set()

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._under_way:
                if self._ended:
                    return
                self._changed.clear()
                await self._changed.wait()
            due_s, chunk = self._under_way[0]
            if (wait_s := due_s - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            await self._thawed.wait()
            self._under_way.popleft()
            self._under_way_bytes -= len(chunk)
            if self._under_way_bytes <= UNDER_WAY_BYTES_MAX:
                self._room.set()
            self._sink.write(chunk)
            await self._sink.drain()
