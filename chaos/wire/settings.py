"""What a link does to bytes, and what it has done so far."""

from dataclasses import dataclass, field

from chaos.wire.bandwidth import Bandwidth
from chaos.wire.latency import Latency
from chaos.wire.loss import Loss

BUFFER_BYTES_MAX = 64 << 20  # one direction of one connection: 300 MB/s over a 200 ms line


@dataclass(frozen=True, slots=True)
class LineSettings:
    """One direction of a link."""

    latency: Latency = field(default_factory=Latency)
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    loss: Loss = field(default_factory=Loss)
    buffer_bytes_max: int = BUFFER_BYTES_MAX

    @property
    def hold_bytes_max(self) -> int:
        """The sender is slowed down while the line holds this much."""
        return self.bandwidth.queue_bytes_max(self.latency.delay_s + self.latency.jitter_s, self.buffer_bytes_max)


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Both directions of a link. forward: from the side that dials to the side that listens."""

    forward: LineSettings = field(default_factory=LineSettings)
    backward: LineSettings = field(default_factory=LineSettings)

    @classmethod
    def round_trip(cls, round_trip_s: float, *, jitter_s: float = 0.0) -> "LinkSettings":
        """The same distance both ways; jitter_s is that of the whole round trip."""
        one_way = LineSettings(latency=Latency(round_trip_s / 2, jitter_s / 2))
        return cls(one_way, one_way)

    @property
    def round_trip_s(self) -> float:
        """Without jitter."""
        return self.forward.latency.delay_s + self.backward.latency.delay_s


@dataclass(slots=True)
class LinkCounters:
    """Counts since the link was opened. A fault that leaves no trace here had no effect."""

    connections_opened: int = 0
    connections_stalled: int = 0  # made while the link was cut
    connections_refused: int = 0  # by the target, or by a cut with reset
    connections_reset: int = 0  # killed by a disturbance
    bytes_forward: int = 0  # delivered
    bytes_backward: int = 0
    buffered_bytes_peak: int = 0  # the most that one direction of one connection held
    pauses: int = 0  # times that a sender was slowed down

    @property
    def bytes_delivered(self) -> int:
        return self.bytes_forward + self.bytes_backward
