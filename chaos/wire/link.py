"""One line between two places: listens on a loopback port, carries every connection to the target, badly if told to."""

import asyncio
import random
import time
from typing import Final, Self

from chaos.wire.connection import Connection
from chaos.wire.cut import WHOLE, Cut, CutMode, Direction
from chaos.wire.settings import LinkCounters, LinkSettings

CONNECTIONS_MAX: Final = 512  # a link between two nodes carries a handful; a storm of them ends here
DIAL_TIMEOUT_S: Final = 10.0
LOOPBACK: Final = "127.0.0.1"


class Link:
    """A proxy from a port to `target` (HOST:PORT). Settings and cuts act at once, on living connections too.

    An async context manager. Everything happens on the loop that opened it; nothing here blocks.
    """

    def __init__(self, listen_port: int, target: str, settings: LinkSettings | None = None, *, seed: int = 0) -> None:
        host, _, port = target.rpartition(":")
        self.target = target
        self.counters = LinkCounters()
        self._target = (host, int(port))
        self._port = listen_port
        self._settings = settings or LinkSettings()
        self._cut = WHOLE
        self._dice = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._opening: dict[Connection, asyncio.Task[None]] = {}
        self._whole = asyncio.Event()
        self._whole.set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Starts to listen; with port 0, on a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, LOOPBACK, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops listening and resets what lives. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._kill_all()
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)

    @property
    def address(self) -> str:
        """Where to dial instead of the target."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def settings(self) -> LinkSettings:
        return self._settings

    @settings.setter
    def settings(self, settings: LinkSettings) -> None:
        self._settings = settings
        for connection in tuple(self._connections):
            connection.apply_settings(settings)

    @property
    def is_cut(self) -> bool:
        return self._cut.mode is not None

    def cut(self, mode: CutMode = CutMode.STALL, direction: Direction = Direction.BOTH) -> None:
        """Carries nothing from now on, until `heal`. A second cut replaces the first."""
        self._cut = Cut(mode, direction)
        self._whole.clear()
        if self._cut.refuses:
            self.counters.connections_reset += self._kill_all()
        self._apply_cut()

    def heal(self) -> None:
        """Carries everything again. Idempotent."""
        self._cut = WHOLE
        self._whole.set()
        self._apply_cut()

    def reset_connections(self) -> int:
        """Kills every living connection, once; new ones are welcome. How many there were."""
        count = self._kill_all()
        self.counters.connections_reset += count
        return count

    def _apply_cut(self) -> None:
        for connection in tuple(self._connections):
            if connection not in self._opening:
                connection.apply_cut(self._cut)

    def _kill_all(self) -> int:
        living = tuple(self._connections)
        for connection in living:
            connection.kill()
        return len(living)

    def _accept(self) -> asyncio.Protocol:
        connection = Connection(self._settings, self._dice, self.counters, self._forget)
        return connection.accepted(self._begin)

    def _begin(self, connection: Connection) -> None:
        if self._cut.refuses or self._server is None or len(self._connections) >= CONNECTIONS_MAX:
            self.counters.connections_refused += 1
            connection.kill()
            return
        self._connections.add(connection)
        if self.is_cut:
            self.counters.connections_stalled += 1
        self._opening[connection] = asyncio.get_running_loop().create_task(self._reach_target(connection))

    async def _reach_target(self, connection: Connection) -> None:
        """Opening costs a round trip, as it does on a real line, and does not get through a cut one."""
        try:
            await _sleep_until(time.monotonic() + self._settings.round_trip_s)
            await self._whole.wait()
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                await asyncio.get_running_loop().create_connection(connection.dialled, *self._target)
        except (OSError, TimeoutError):
            self.counters.connections_refused += 1
            connection.kill()
        except asyncio.CancelledError:
            connection.kill()
            raise
        else:
            self.counters.connections_opened += 1
            connection.start(self._cut)
        finally:
            self._opening.pop(connection, None)

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        task = self._opening.get(connection)
        if task is not None and task is not asyncio.current_task():
            task.cancel()


async def _sleep_until(due_s: float) -> None:
    """By the monotonic clock; uvloop's timers count from the start of its turn and may be early."""
    while (left_s := due_s - time.monotonic()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(left_s)
