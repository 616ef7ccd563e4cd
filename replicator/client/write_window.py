"""Names for batches of writes: one client id, sequences without a gap, and the bound that keeps a retry harmless.

The cluster remembers SESSION_RESULTS_MAX results of a client, from the oldest write that it still waits for. So two
bounds hold here: writes in flight, and the distance from the oldest to the newest (one slow batch holds the others back
rather than let its own name be forgotten).
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from replicator.model.limits import CLIENT_ID_BYTES, SESSION_RESULTS_MAX

WRITES_IN_FLIGHT_MAX: Final = SESSION_RESULTS_MAX // 2


@dataclass(frozen=True, slots=True)
class BatchName:
    """Fixed when the batch is sealed: a retry keeps all of it."""

    client_id: bytes
    issued_ms: int
    first_sequence: int
    oldest_pending: int


class WriteWindow:
    """One client id, drawn with the first batch. A new window takes its place when the cluster has forgotten it."""

    def __init__(self, group_time_ms: Callable[[], int]) -> None:
        self._group_time_ms = group_time_ms
        self._client_id = secrets.token_bytes(CLIENT_ID_BYTES)
        self._issued_ms = 0
        self._next_sequence = 1
        self._pending: dict[int, int] = {}  # first sequence of a batch -> its writes, in the order of sequences
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Writes of batches that have not been released."""
        return self._in_flight

    def room(self) -> int:
        """How many writes the next batch may hold now."""
        span = self._next_sequence - self._oldest_pending()
        return max(0, min(WRITES_IN_FLIGHT_MAX - self._in_flight, SESSION_RESULTS_MAX - span))

    def take(self, count: int) -> BatchName:
        """The name of a batch of so many writes, within `room`; held until it is released."""
        assert 1 <= count <= self.room(), (count, self.room())
        if not self._issued_ms:
            self._issued_ms = self._group_time_ms()
        first = self._next_sequence
        self._next_sequence += count
        self._pending[first] = count
        self._in_flight += count
        return BatchName(self._client_id, self._issued_ms, first, self._oldest_pending())

    def release(self, name: BatchName) -> None:
        """No attempt of the batch will follow, and nobody waits for its results."""
        self._in_flight -= self._pending.pop(name.first_sequence)

    def _oldest_pending(self) -> int:
        return next(iter(self._pending), self._next_sequence)
