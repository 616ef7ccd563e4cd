"""How many bytes a second does a path deliver? An estimate from when what was sent, and when it was answered.

Source: draft-cheng-iccrg-delivery-rate-estimation (section 3), as BBR uses it. A sample is what was delivered between
the sending of an append and its answer, over the longer of the times that sending and answering took: answers that
arrive bunched do not make the path look faster than it was fed. A sample that was taken while there was nothing to send
says what we had, not what the path can do, and counts only if it raises the estimate.
"""

from typing import Final, NamedTuple

from replicator.core.windowed import WindowedMaximum

ROUND_TRIPS_REMEMBERED: Final = 10  # as BBR
ROUND_TRIP_S_MIN: Final = 0.1  # one sync of a disk must not be all that is remembered of a short path
BUNCH_S_MAX: Final = 0.1  # as BBR: answers that come later than this after each other are no bunch, but a slow path


class SendMark(NamedTuple):
    """Noted with what is sent, looked at when it is answered."""

    sent_s: float
    first_sent_s: float
    delivered_bytes: int
    delivered_s: float
    short_of_data: bool


class DeliveryRate:
    """Counts deliveries of one stream. Times are one clock's seconds; they may stand still, then nothing is learnt.

    bytes_per_s: greatest rate of late; 0.0 until something is known. Late are ten round trips as they are without a
    queue: with those that are measured, a path that became slow would be flooded all the longer, the slower it is.
    """

    def __init__(self) -> None:
        self._rates = WindowedMaximum(ROUND_TRIPS_REMEMBERED)
        self._bunches = WindowedMaximum(ROUND_TRIPS_REMEMBERED)
        self._delivered_bytes = 0
        self._delivered_s = self._first_sent_s = 0.0
        self._short_until_bytes = -1
        self._round_trips = 0.0
        self._bunch_began_s = 0.0
        self._bunch_bytes = 0

    @property
    def bytes_per_s(self) -> float:
        """The estimate."""
        return self._rates.best or 0.0

    @property
    def bunch_bytes(self) -> float:
        """Delivered at once, beyond what the rate explains: a peer that answers after each sync answers in bunches.

        While bunches are on their way, so much more must be under way for the path to stay busy.
        """
        return min(self._bunches.best or 0.0, self.bytes_per_s * BUNCH_S_MAX)

    def sending(self, now_s: float, in_flight_bytes: int) -> SendMark:
        """Something is about to be sent; in_flight_bytes: what is under way without it."""
        if in_flight_bytes == 0:
            self._first_sent_s = self._delivered_s = now_s
        short = self._delivered_bytes <= self._short_until_bytes
        return SendMark(now_s, self._first_sent_s, self._delivered_bytes, self._delivered_s, short)

    def nothing_to_send(self, in_flight_bytes: int) -> None:
        """The path would take more, and there is no more: what is under way tells nothing of what it can do."""
        self._short_until_bytes = self._delivered_bytes + in_flight_bytes

    def answered(self, now_s: float, mark: SendMark, payload_bytes: int, *, round_trip_s: float) -> None:
        """What was sent at `mark` has been answered, and payload_bytes, its own and earlier ones, are delivered.

        round_trip_s: of the path without a queue.
        """
        self._delivered_bytes += payload_bytes
        self._round_trips += (now_s - self._delivered_s) / max(round_trip_s, ROUND_TRIP_S_MIN)
        self._delivered_s, self._first_sent_s = now_s, mark.sent_s
        raised = self._take_sample(now_s, mark)
        self._take_bunch(now_s, payload_bytes, begin_anew=raised)

    def _take_sample(self, now_s: float, mark: SendMark) -> bool:
        interval_s = max(mark.sent_s - mark.first_sent_s, now_s - mark.delivered_s)
        if interval_s <= 0.0:
            return False
        rate, before = (self._delivered_bytes - mark.delivered_bytes) / interval_s, self.bytes_per_s
        if rate >= before or not mark.short_of_data:
            self._rates.add(self._round_trips, rate)
        return rate > before

    def _take_bunch(self, now_s: float, payload_bytes: int, *, begin_anew: bool) -> None:
        """begin_anew: the rate was just found to be higher, so what seemed to be a bunch is explained by it."""
        expected_bytes = self.bytes_per_s * (now_s - self._bunch_began_s)
        if begin_anew or self._bunch_bytes <= expected_bytes:
            self._bunch_began_s, self._bunch_bytes, expected_bytes = now_s, 0, 0.0
        self._bunch_bytes += payload_bytes
        if not begin_anew:
            self._bunches.add(self._round_trips, self._bunch_bytes - expected_bytes)
