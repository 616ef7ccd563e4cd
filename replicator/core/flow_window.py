"""How much may be under way to one peer, and how much of it in one append? Enough to fill the path, hardly more.

What a path holds is its round trip times its rate. Twice that is let out: what one round trip delivers then allows
twice as much in the next, until the path is full, so a path that became faster is found within a few round trips. All
beyond that only queues: heartbeats, and writes of others, would wait behind it, and memory would hold it.

The round trip is the least one of some seconds, of appends that carry entries: the way there and back, and what a peer
needs at least to make an append durable. A full path shows only round trips with a queue in them, so now and then less
is let out until one append has met no queue (BBR calls it ProbeRTT).
"""

from typing import Final, NamedTuple

from replicator.core.delivery_rate import DeliveryRate, SendMark
from replicator.core.windowed import WindowedMaximum

GAIN: Final = 2.0
DRAINED: Final = 0.5  # of what the path holds: what is sent on top of no more than that meets no queue
DRAIN_EVERY_S: Final = 5.0
ROUND_TRIP_REMEMBERED_S: Final = 10.0
BATCHES_A_WINDOW: Final = 16
BATCH_BYTES_MIN: Final = 64 << 10


class FlowLimits(NamedTuple):
    """floor_bytes: let out before anything is known, and always; ceiling_bytes: never more; batch_bytes_max: in one."""

    floor_bytes: int = 1 << 20
    ceiling_bytes: int = 16 << 20
    batch_bytes_max: int = 1 << 20


class Sending(NamedTuple):
    """Noted with an append that carries entries. drained: it was sent into a path without a queue."""

    mark: SendMark
    drained: bool


class FlowWindow:
    """One peer's. Never closes altogether: something may be sent whenever nothing is under way."""

    def __init__(self, limits: FlowLimits | None = None) -> None:
        self._limits = limits or FlowLimits()
        self._rate = DeliveryRate()
        self._least_round_trip = WindowedMaximum(ROUND_TRIP_REMEMBERED_S)  # of negative times
        self._drained_s: float | None = None
        self._draining = False

    @property
    def round_trip_s(self) -> float:
        """The least of late, of an append that carried entries; 0.0 until something is known."""
        return -(self._least_round_trip.best or 0.0)

    @property
    def bytes_per_s(self) -> float:
        """What the path delivers; 0.0 until something is known."""
        return self._rate.bytes_per_s

    @property
    def held_bytes(self) -> float:
        """What the path holds when it is full and nothing queues."""
        return self.round_trip_s * self._rate.bytes_per_s

    @property
    def window_bytes(self) -> int:
        """What may be under way, by floor and ceiling."""
        wanted = int(GAIN * self.held_bytes + self._rate.bunch_bytes)
        return min(max(wanted, min(self._limits.floor_bytes, self._limits.ceiling_bytes)), self._limits.ceiling_bytes)

    @property
    def batch_bytes(self) -> int:
        """How much one append carries: a small share, so that answers come evenly and little waits behind one."""
        share = self.window_bytes // BATCHES_A_WINDOW
        return min(max(share, BATCH_BYTES_MIN), self._limits.batch_bytes_max)

    def has_room(self, in_flight_bytes: int) -> bool:
        """May more be sent while so much is under way? One batch may exceed the window."""
        if in_flight_bytes == 0:
            return True
        drained = self._draining and in_flight_bytes >= DRAINED * self.held_bytes
        return in_flight_bytes < self.window_bytes and not drained

    def sending(self, now_s: float, in_flight_bytes: int) -> Sending:
        """An append with entries is about to be sent; in_flight_bytes: what is under way without it."""
        drained = in_flight_bytes <= DRAINED * self.held_bytes
        return Sending(self._rate.sending(now_s, in_flight_bytes), drained)

    def nothing_to_send(self, in_flight_bytes: int) -> None:
        """There is room, and nothing to send."""
        self._rate.nothing_to_send(in_flight_bytes)

    def answered(self, now_s: float, sending: Sending, payload_bytes: int) -> None:
        """An append has been answered; payload_bytes: its own, and of all before it that had no answer yet."""
        self._least_round_trip.add(now_s, -(now_s - sending.mark.sent_s))
        self._rate.answered(now_s, sending.mark, payload_bytes, round_trip_s=self.round_trip_s)
        if sending.drained or self._drained_s is None:
            self._drained_s, self._draining = now_s, False
        elif now_s - self._drained_s > DRAIN_EVERY_S:
            self._draining = True

    def void(self) -> None:
        """Nothing is under way any more: it was lost, or no longer counts. What is known of the path stays."""
        self._draining = False
