"""Bounds the connections to this node's ports, by address and in all, and keeps descriptors free for its own work.

gRPC accepts any connection, as long as descriptors last, and says nothing when they are used up. So the guard looks at
the sockets of the process, several times a second, and closes those beyond the bounds: the most idle of the address
that has most.
"""

import asyncio
import logging
import resource
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from replicator.core.connection_limits import Connection, surplus
from replicator.core.pace import Pace
from replicator.model.observe import Observer, Signal
from replicator.node.open_sockets import Descriptors, OpenSocket

LOOK_S: Final = 0.1  # how often descriptors are counted; a look costs some 50 us for 256 of them
RECOUNT_S: Final = 1.0  # how often connections are counted even if descriptors are as many as before
OWN_DESCRIPTORS: Final = 128  # for files, links and probes of the node: connections leave so many free
PEER_CONNECTIONS_MAX: Final = 128
ADMIN_CONNECTIONS_MAX: Final = 128  # before TLS; behind it, `console` has bounds of its own

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PortLimits:
    """name: of the configuration key, for the log. is_small: a fixed, small number, taken before the others share."""

    name: str
    total_max: int
    per_address_max: int
    is_small: bool = False


class ConnectionGuard:
    """`run` is the task; `cut` may be called at any time. On the loop."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._descriptors = Descriptors()
        self._ports: Mapping[int, PortLimits] = {}
        self._pace = Pace()
        self._seen = 0
        self._counted_s = float("-inf")

    def watch(self, ports: Mapping[int, PortLimits]) -> None:
        """Once the ports are bound."""
        self._ports = ports
        for limits in ports.values():
            if not limits.is_small and limits.total_max > self._room(limits):
                _log.warning(
                    "%s: at most %d connections, as %d files may be open: raise that limit (LimitNOFILE, ulimit -n)",
                    limits.name, self._room(limits), _open_files_max(),
                )  # fmt: skip

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                self.look(time.monotonic())
                await asyncio.sleep(LOOK_S)
        finally:
            self._descriptors.close()

    def cut(self, peer: str, cause: str) -> None:
        """Ends the connection of a gRPC peer: `ipv4:192.0.2.1:50051`, `ipv6:%5B::1%5D:50051`."""
        host, _, port = unquote(peer).partition(":")[2].rpartition(":")
        wanted = (host.strip("[]"), int(port)) if port.isdigit() else None
        for connection in self._connections(self._descriptors.numbers()):
            if connection.peer == wanted:
                self._end(connection, cause)

    def look(self, now_s: float) -> None:
        """Closes what exceeds the bounds."""
        numbers = self._descriptors.numbers()
        if len(numbers) <= self._seen and now_s - self._counted_s < RECOUNT_S:
            return
        self._counted_s = now_s
        connections = self._connections(numbers)
        closed = sum(
            self._bound(limits, [each for each in connections if each.port == port])
            for port, limits in self._ports.items()
        )
        self._seen = len(numbers) - closed

    def _bound(self, limits: PortLimits, of_port: list[OpenSocket]) -> int:
        room = self._room(limits)
        is_scarce = room < min(limits.total_max, len(of_port))
        closing = surplus(
            [Connection(each.descriptor, each.peer[0], each.idle_s) for each in of_port],
            total_max=min(limits.total_max, room),
            per_address_max=limits.per_address_max,
        )
        by_number = {each.descriptor: each for each in of_port}
        for each in closing:
            self._end(by_number[each.number], "descriptors" if is_scarce else "crowded")
        if closing:
            self._say(limits, closing, len(of_port), is_scarce=is_scarce)
        return len(closing)

    def _say(self, limits: PortLimits, closing: list[Connection], held: int, *, is_scarce: bool) -> None:
        times = self._pace.happened(limits.name, time.monotonic(), len(closing))
        if not times:
            return
        address, count = Counter(each.address for each in closing).most_common(1)[0]
        why = (
            f"of {_open_files_max()} open files too few are left; raise the limit (LimitNOFILE, ulimit -n)"
            if is_scarce
            else f"the limits are {limits.total_max}, and {limits.per_address_max} from one address"
        )
        _log.warning(
            "%s: closed %d of %d connections, %d of them from=%s, the most idle first: %s; times=%d",
            limits.name, len(closing), held, count, address, why, times,
        )  # fmt: skip

    def _end(self, connection: OpenSocket, cause: str) -> None:
        if self._descriptors.cut(connection):
            self._observer.count(Signal.CONNECTIONS_CLOSED, port=self._ports[connection.port].name, cause=cause)

    def _connections(self, numbers: list[int]) -> list[OpenSocket]:
        return self._descriptors.connections(numbers, frozenset(self._ports))

    def _room(self, limits: PortLimits) -> int:
        """Connections that the limit of open files leaves to a port: the API gets what the small ports leave."""
        room = max(0, _open_files_max() - OWN_DESCRIPTORS)
        small = [min(each.total_max, room // 4) for each in self._ports.values() if each.is_small]
        return min(limits.total_max, room // 4) if limits.is_small else room - sum(small)


def _open_files_max() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
