"""What the leader knows of one peer's stream of appends. Plain bookkeeping, no messages."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

IN_FLIGHT_BYTES_MAX: Final = 16 << 20  # a 220 ms round trip at 70 MB/s
IN_FLIGHT_APPENDS_MAX: Final = 512


class _Sent(NamedTuple):
    sequence: int
    payload_bytes: int
    sent_s: float


@dataclass(slots=True)
class Progress:
    """Sequences number the appends to one peer for the life of this process, so a reply can name what it answers.

    floor: rejections of appends up to this number are void: what was sent since starts from a corrected position.
    acked: highest sequence answered; acked_sent_s: when that append or an earlier one was sent, by our own clock.
    needs_snapshot: the peer lacks entries that the log no longer holds.
    peer_clock_ms: the peer's clock as last heard, echoed to it so that it can bound its staleness.
    """

    sent: int = 0
    floor: int = 0
    acked: int = 0
    acked_sent_s: float = float("-inf")
    peer_clock_ms: int | None = None
    in_flight_bytes: int = 0
    needs_snapshot: bool = False
    _in_flight: deque[_Sent] = field(default_factory=deque)
    _carrying: int = 0  # how many of those in flight carry entries

    def has_room(self) -> bool:
        """May entries be sent, or must answers arrive first? Empty appends take no room: reads must not stop writes."""
        return self.in_flight_bytes < IN_FLIGHT_BYTES_MAX and self._carrying < IN_FLIGHT_APPENDS_MAX

    def next_sequence(self, payload_bytes: int, now_s: float) -> int:
        """Numbers an append that is about to be sent. payload_bytes: 0 if it carries no entries."""
        self.sent += 1
        if payload_bytes or len(self._in_flight) < IN_FLIGHT_APPENDS_MAX:  # of many empty ones, not each is remembered
            self._in_flight.append(_Sent(self.sent, payload_bytes, now_s))
            self.in_flight_bytes += payload_bytes
            self._carrying += payload_bytes > 0
        assert len(self._in_flight) <= 2 * IN_FLIGHT_APPENDS_MAX, "senders ask for room first"
        return self.sent

    def answered(self, sequence: int) -> None:
        """The peer has answered `sequence`; streams are in order, so everything before it has arrived or is lost."""
        while self._in_flight and self._in_flight[0].sequence <= sequence:
            sent = self._in_flight.popleft()
            self.in_flight_bytes -= sent.payload_bytes
            self._carrying -= sent.payload_bytes > 0
            self.acked_sent_s = max(self.acked_sent_s, sent.sent_s)  # no later than what is answered was sent
        self.acked = max(self.acked, sequence)

    def void_in_flight(self) -> None:
        """A rewind, a new link or a new term: what is under way no longer counts, nor does its rejection."""
        self.floor = self.sent
        self._in_flight.clear()
        self.in_flight_bytes = self._carrying = 0

    def restart(self) -> None:
        """A new term of our leadership: contacts of an earlier one prove nothing."""
        self.void_in_flight()
        self.needs_snapshot = False
        self.acked_sent_s = float("-inf")
