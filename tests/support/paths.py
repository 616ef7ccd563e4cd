"""A path to a follower, simulated: a rate, a delay each way, and a follower that syncs before it answers.

Drives one `Progress` the way a leader's turns do, in virtual time. Events are ordered by time, then by their making.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from replicator.core.flow_window import FlowLimits, FlowWindow
from replicator.engine.raft.progress import Progress

MIB: Final = 1 << 20


@dataclass
class Path:
    """rate: bytes a second. round_trip_s: without a queue. sync_s: the follower takes all that has arrived, waits so
    long, then answers all of it; 0.0: each append is answered at once. turn_s: answers that arrive within so much are
    taken together. backlog_bytes: what is left to send; None: no end.
    """

    rate: float
    round_trip_s: float
    sync_s: float = 0.0
    turn_s: float = 0.0
    backlog_bytes: float | None = None
    limits: FlowLimits = field(default_factory=FlowLimits)

    def __post_init__(self) -> None:
        self.progress = Progress(FlowWindow(self.limits))
        self.now_s = 100.0
        self.delivered_bytes = 0
        self.peak_bytes = 0
        self._line_free_s = 0.0
        self._arrived: list[tuple[int, int]] = []
        self._syncing = False
        self._answers: list[tuple[int, int]] = []
        self._turn_planned = False
        self._stream = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    @property
    def holds_bytes(self) -> float:
        """The bandwidth-delay product, with what a follower holds while it syncs."""
        return self.rate * (self.round_trip_s + 2 * self.sync_s + self.turn_s)

    def run(self, seconds: float) -> float:
        """Lets time pass; bytes delivered a second meanwhile. `peak_bytes` is that of this run."""
        until_s, before, self.peak_bytes = self.now_s + seconds, self.delivered_bytes, 0
        self._send_more()
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _number, event = heapq.heappop(self._events)
            event()
        self.now_s = until_s
        return (self.delivered_bytes - before) / seconds

    def offer(self, payload_bytes: int) -> None:
        """There is something to send."""
        assert self.backlog_bytes is not None
        self.backlog_bytes += payload_bytes
        self._send_more()

    def beat(self) -> None:
        """An append without entries."""
        self._carry(self.progress.next_sequence(0, self.now_s), 0)

    def lose_link(self) -> None:
        """The stream breaks: what flies, both ways, is lost; a new one is up at once."""
        self._stream += 1
        lost_bytes = self.progress.in_flight_bytes
        if self.backlog_bytes is not None:
            self.backlog_bytes += lost_bytes
        self._arrived, self._answers, self._line_free_s = [], [], self.now_s
        self._syncing = self._turn_planned = False
        self.progress.void_in_flight()
        self._send_more()

    def _after(self, delay_s: float, event: Callable[[], None]) -> None:
        stream = self._stream
        due = self.now_s + delay_s, next(self._numbers), lambda: event() if stream == self._stream else None
        heapq.heappush(self._events, due)

    def _send_more(self) -> None:
        progress = self.progress
        while progress.has_room() and (self.backlog_bytes is None or self.backlog_bytes > 0):
            payload_bytes = progress.flow.batch_bytes
            if self.backlog_bytes is not None:
                payload_bytes = int(min(payload_bytes, self.backlog_bytes))
                self.backlog_bytes -= payload_bytes
            self._carry(progress.next_sequence(payload_bytes, self.now_s), payload_bytes)
            self.peak_bytes = max(self.peak_bytes, progress.in_flight_bytes)
        if self.backlog_bytes == 0:
            progress.nothing_to_send()

    def _carry(self, sequence: int, payload_bytes: int) -> None:
        self._line_free_s = max(self._line_free_s, self.now_s) + payload_bytes / self.rate
        self._after(
            self._line_free_s - self.now_s + self.round_trip_s / 2, lambda: self._arrive(sequence, payload_bytes)
        )

    def _arrive(self, sequence: int, payload_bytes: int) -> None:
        self._arrived.append((sequence, payload_bytes))
        if not self._syncing:
            self._sync()

    def _sync(self) -> None:
        batch, self._arrived, self._syncing = self._arrived, [], True

        def done() -> None:
            for answer in batch:
                self._after(self.round_trip_s / 2, lambda answer=answer: self._answer(*answer))  # type: ignore[misc]
            self._syncing = False
            if self._arrived:
                self._sync()

        if self.sync_s > 0.0:
            self._after(self.sync_s, done)
        else:
            done()

    def _answer(self, sequence: int, payload_bytes: int) -> None:
        self._answers.append((sequence, payload_bytes))
        if not self._turn_planned:
            self._turn_planned = True
            self._after(self.turn_s, self._turn)

    def _turn(self) -> None:
        answers, self._answers, self._turn_planned = self._answers, [], False
        for sequence, payload_bytes in answers:
            self.progress.answered(sequence, self.now_s)
            self.delivered_bytes += payload_bytes
        self._send_more()
