"""What the leader knows of one peer's stream of appends. Plain bookkeeping, no messages."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from replicator.core.flow_window import FlowWindow, Sending
from replicator.core.round_trip import RoundTrip

IN_FLIGHT_APPENDS_MAX: Final = 512


class _Sent(NamedTuple):
    sequence: int
    payload_bytes: int
    sent_s: float
    sending: Sending | None  # None if it carries no entries


@dataclass(slots=True)
class Progress:
    """Sequences number the appends to one peer for the life of this process, so a reply can name what it answers.

    flow: how much may be under way; it knows the path, so it outlives links and terms.
    round_trip: from a turn that sends an append to the turn that takes its answer, so what both disks need is in it,
    as it is in the time that an election needs. One sample a round trip, within one term of ours.
    floor: rejections of appends up to this number are void: what was sent since starts from a corrected position.
    acked: highest sequence answered; acked_sent_s: when that append or an earlier one was sent, by our own clock.
    needs_snapshot: the peer lacks entries that the log no longer holds.
    peer_clock_ms: the peer's clock as last heard, echoed to it so that it can bound its staleness.
    """

    flow: FlowWindow = field(default_factory=FlowWindow)
    round_trip: RoundTrip = field(default_factory=RoundTrip)
    sent: int = 0
    floor: int = 0
    acked: int = 0
    acked_sent_s: float = float("-inf")
    peer_clock_ms: int | None = None
    in_flight_bytes: int = 0
    needs_snapshot: bool = False
    _in_flight: deque[_Sent] = field(default_factory=deque)
    _carrying: int = 0  # how many of those in flight carry entries
    _sampled_up_to: int = 0  # no append up to this number is one more sample of the round trip

    def has_room(self) -> bool:
        """May entries be sent, or must answers arrive first? Empty appends take no room: reads must not stop writes."""
        return self._carrying < IN_FLIGHT_APPENDS_MAX and self.flow.has_room(self.in_flight_bytes)

    def nothing_to_send(self) -> None:
        """The peer has been sent everything that there is."""
        if self.has_room():
            self.flow.nothing_to_send(self.in_flight_bytes)

    def next_sequence(self, payload_bytes: int, now_s: float) -> int:
        """Numbers an append that is about to be sent. payload_bytes: 0 if it carries no entries."""
        self.sent += 1
        if payload_bytes or len(self._in_flight) < IN_FLIGHT_APPENDS_MAX:  # of many empty ones, not each is remembered
            sending = self.flow.sending(now_s, self.in_flight_bytes) if payload_bytes else None
            self._in_flight.append(_Sent(self.sent, payload_bytes, now_s, sending))
            self.in_flight_bytes += payload_bytes
            self._carrying += payload_bytes > 0
        assert len(self._in_flight) <= 2 * IN_FLIGHT_APPENDS_MAX, "senders ask for room first"
        return self.sent

    def answered(self, sequence: int, now_s: float, *, arrived: bool = True) -> None:
        """The peer has answered `sequence`; streams are in order, so everything before it has arrived or is lost.

        arrived: the peer has taken it, so nothing before it was lost either.
        """
        delivered_bytes = 0
        last: _Sent | None = None
        carrying: Sending | None = None
        while self._in_flight and self._in_flight[0].sequence <= sequence:
            last = self._in_flight.popleft()
            delivered_bytes += last.payload_bytes
            self._carrying -= last.payload_bytes > 0
            self.acked_sent_s = max(self.acked_sent_s, last.sent_s)  # no later than what is answered was sent
            carrying = last.sending or carrying
        self.in_flight_bytes -= delivered_bytes
        self.acked = max(self.acked, sequence)
        if last is not None and last.sequence == sequence > self._sampled_up_to:
            self.round_trip.add(now_s - last.sent_s)
            self._sampled_up_to = self.sent
        if carrying is not None and arrived:
            self.flow.answered(now_s, carrying, delivered_bytes)

    def void_in_flight(self) -> None:
        """A rewind, a new link or a new term: what is under way no longer counts, nor does its rejection."""
        self.floor = self.sent
        self._in_flight.clear()
        self.in_flight_bytes = self._carrying = 0
        self.flow.void()

    def restart(self) -> None:
        """A new term of our leadership: contacts of an earlier one prove nothing."""
        self.void_in_flight()
        self.needs_snapshot = False
        self.acked_sent_s = float("-inf")
        self.round_trip = RoundTrip()
