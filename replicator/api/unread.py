"""What clients have asked for and not taken: memory for answers, by connection, bounded for each and for all together.

gRPC takes an answer of any size from its handler and keeps it until the client takes it, however long that is. So an
answer is held here until its call is done. A connection that holds much waits before it may ask again; one that does
not take an answer in time is cut, since gRPC offers a server no way to end one call whose answer is on its way.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from replicator.core.pace import Pace
from replicator.model.errors import Overloaded
from replicator.model.limits import VALUE_BYTES_MAX, in_mib

ANSWER_S_MAX: Final = 30.0  # for a client to take an answer
CROWDED_S: Final = 1.0  # an answer held for longer may cost its connection, once the node holds too much
CALL_BYTES: Final = 8 << 10  # that a call costs besides its answer
COPIES: Final = 3  # of an answer that gRPC for Python holds: the message, its bytes, and what C-core sends
CONNECTION_SHARE: Final = 4  # one connection waits beyond this part of the whole
SWEEP_S: Final = 1.0
RETRY_AFTER_S: Final = 0.1

_log = logging.getLogger(__name__)

Cut = Callable[[str, str], None]
"""Ends the connection of a gRPC peer (`ipv4:192.0.2.1:50051`), and says why."""


@dataclass(eq=False, slots=True)
class Held:
    """One answer, or one message of a stream. is_paced: its stream goes as fast as the client reads, however slow."""

    peer: str
    size_bytes: int
    since_s: float
    is_paced: bool = False


@dataclass(slots=True)
class _Connection:
    """Answers of one, oldest first, and callers that wait for room."""

    held: dict[int, Held] = field(default_factory=dict)
    size_bytes: int = 0
    waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)


class UnreadAnswers:
    """Invariant: the sizes of all that is held add up, by connection and as a whole.

    The whole exceeds `bytes_max` by answers to writes alone: such an answer is never dropped, as the write is done.
    """

    def __init__(self, bytes_max: int, cut: Cut) -> None:
        self._bytes_max = bytes_max
        self._connection_bytes_max = bytes_max // CONNECTION_SHARE
        self._cut = cut
        self._connections: dict[str, _Connection] = {}
        self._pace = Pace()
        self.size_bytes = 0

    async def wait_for_room(self, peer: str) -> None:
        """Returns once the connection may ask again. Raises Overloaded if the node as a whole holds too much."""
        if self.size_bytes >= self._bytes_max:
            self._make_room()
            raise self._overloaded()
        while (connection := self._connections.get(peer)) and connection.size_bytes >= self._connection_bytes_max:
            turn = asyncio.get_running_loop().create_future()
            connection.waiting.append(turn)
            try:
                await turn
            finally:
                if turn in connection.waiting:
                    connection.waiting.remove(turn)

    def hold(self, peer: str, answer_bytes: int, *, droppable: bool, is_paced: bool = False) -> Held:
        """Until `release`. droppable: raises Overloaded rather than exceed the bound.

        is_paced: the client may take its time with it, as long as there is room.
        """
        size = COPIES * answer_bytes + CALL_BYTES
        if droppable and self.size_bytes + size > self._bytes_max:
            self._make_room()
            raise self._overloaded()
        held = Held(peer, size, time.monotonic(), is_paced)
        connection = self._connections.setdefault(peer, _Connection())
        connection.held[id(held)] = held
        connection.size_bytes += size
        self.size_bytes += size
        return held

    def release(self, held: Held) -> None:
        """It was taken, or will never be. Once for each."""
        connection = self._connections[held.peer]
        del connection.held[id(held)]
        connection.size_bytes -= held.size_bytes
        self.size_bytes -= held.size_bytes
        assert self.size_bytes >= connection.size_bytes >= 0, "what is held adds up"
        room = self._connection_bytes_max - connection.size_bytes
        if room > 0:
            some = 1 + room // (COPIES * VALUE_BYTES_MAX)
            self._wake(connection, some if connection.held else len(connection.waiting))
        if not connection.held:
            del self._connections[held.peer]

    def _wake(self, connection: _Connection, count: int) -> None:
        """Not all at once: each may want an answer of the greatest size."""
        while connection.waiting and count > 0:
            turn = connection.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1

    async def sweep(self) -> None:
        """Cuts connections that do not take their answers, until it is cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for peer in self.overdue(time.monotonic()):
                self._end(peer, f"an answer was not taken within {ANSWER_S_MAX:g} s")

    def overdue(self, now_s: float) -> list[str]:
        """Peers whose oldest answer has waited for longer than ANSWER_S_MAX."""
        return [
            peer
            for peer, connection in self._connections.items()
            if any(now_s - held.since_s > ANSWER_S_MAX for held in connection.held.values() if not held.is_paced)
        ]

    def _make_room(self) -> None:
        """At the cost of the connection that holds most, unless all of it is fresh."""
        peer = max(self._connections, key=lambda peer: self._connections[peer].size_bytes)
        if self._waits_s(peer, time.monotonic()) > CROWDED_S:
            held = self._connections[peer].size_bytes >> 20
            self._end(peer, f"it holds {held} MiB of answers that it does not take, the most of all")

    def _waits_s(self, peer: str, now_s: float) -> float:
        oldest = next(iter(self._connections[peer].held.values()))
        return now_s - oldest.since_s

    def _end(self, peer: str, why: str) -> None:
        address = peer.rpartition(":")[0]
        times = self._pace.happened(address, time.monotonic())
        if times:
            _log.warning("listen.api: cut a connection from=%s: %s; times=%d", address, why, times)
        self._cut(peer, "unread")

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"answers of {in_mib(self._bytes_max)} wait for clients that do not take them, the limit "
            "(limits.unread_mib_max); read faster",
            metadata={"limit": str(self._bytes_max)},
            retry_after_s=RETRY_AFTER_S,
        )
