"""Names for writes: one client id, sequences, and the bound that keeps a retry harmless.

The cluster remembers SESSION_RESULTS_MAX results of a client, from the oldest write that it still waits for. So two
bounds hold here: writes in flight, and the distance from the oldest to the newest (one slow write holds the others back
rather than let its own name be forgotten).
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from replicator.model.deadline import Deadline
from replicator.model.errors import DeadlineExceeded, Overloaded
from replicator.model.limits import CLIENT_ID_BYTES, SESSION_RESULTS_MAX
from replicator.v1 import kv_pb2

WRITES_IN_FLIGHT_MAX: Final = SESSION_RESULTS_MAX // 2
WRITES_WAITING_MAX: Final = 16_384


class WriteWindow:
    """One client id. A new one is drawn when the cluster has forgotten this."""

    def __init__(self, client_id: bytes | None = None) -> None:
        self._client_id = client_id or secrets.token_bytes(CLIENT_ID_BYTES)
        self._next_sequence = 1
        # Both keep the order of insertion: sequences ascend, and the caller that waits longest is next.
        self._pending: dict[int, None] = {}
        self._waiting: dict[asyncio.Future[int], None] = {}

    @asynccontextmanager
    async def write_id(self, deadline: Deadline) -> AsyncIterator[kv_pb2.WriteId]:
        """A name, held until the block ends; waits for room first. Raises DeadlineExceeded, Overloaded."""
        sequence = self._take() if self._has_room() and not self._waiting else await self._wait_turn(deadline)
        try:
            yield kv_pb2.WriteId(client_id=self._client_id, sequence=sequence, oldest_pending=self._oldest_pending())
        finally:
            self._release(sequence)

    @property
    def in_flight(self) -> int:
        return len(self._pending)

    def _oldest_pending(self) -> int:
        return next(iter(self._pending), self._next_sequence)

    def _has_room(self) -> bool:
        span = self._next_sequence - self._oldest_pending()
        return len(self._pending) < WRITES_IN_FLIGHT_MAX and span < SESSION_RESULTS_MAX

    def _take(self) -> int:
        sequence = self._next_sequence
        self._next_sequence += 1
        self._pending[sequence] = None
        assert len(self._pending) <= WRITES_IN_FLIGHT_MAX, len(self._pending)
        assert sequence - self._oldest_pending() < SESSION_RESULTS_MAX, (sequence, self._oldest_pending())
        return sequence

    def _release(self, sequence: int) -> None:
        del self._pending[sequence]
        while self._waiting and self._has_room():
            turn = next(iter(self._waiting))
            del self._waiting[turn]
            if not turn.done():
                turn.set_result(self._take())

    async def _wait_turn(self, deadline: Deadline) -> int:
        """The call that makes room also takes the sequence, so that no later caller can take it first."""
        if len(self._waiting) >= WRITES_WAITING_MAX:
            raise Overloaded(
                f"{WRITES_WAITING_MAX} writes of this client wait already for a place among {WRITES_IN_FLIGHT_MAX} "
                "in flight; slow down"
            )
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        try:
            await asyncio.wait({turn}, timeout=deadline.left_s())
        except asyncio.CancelledError:
            self._give_up(turn)
            raise
        if turn.done():
            return turn.result()
        self._give_up(turn)
        raise DeadlineExceeded(
            f"this client has {len(self._pending)} writes in flight (at most {WRITES_IN_FLIGHT_MAX}), and none ended "
            "in time for this one to be sent; nothing happened"
        )

    def _give_up(self, turn: "asyncio.Future[int]") -> None:
        self._waiting.pop(turn, None)
        if turn.done():
            self._release(turn.result())
