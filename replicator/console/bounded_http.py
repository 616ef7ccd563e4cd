"""One connection to the admin port, bounded in number, time and log lines, so that a probe is always answered.

A connection that takes too long is cut, not closed: closing waits for a client that may never read.
"""

import asyncio
import logging
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from replicator.core.pace import Pace
from replicator.core.places import Places

CONNECTIONS_MAX: Final = 64  # probes and scrapers need a handful; beyond it the largest crowd gives up its oldest
REQUEST_S_MAX: Final = 5.0  # from the connection, or from the answer before, to the end of a request's head
ANSWER_S_MAX: Final = 10.0  # from there until the answer is taken

_log = logging.getLogger(__name__)
_UNSAID: Final = logging.getLogger("uvicorn.error.unsaid")  # uvicorn's line for each malformed request
_UNSAID.setLevel(logging.ERROR)


class AdminPlaces:
    """The connections of one port."""

    def __init__(self) -> None:
        self._places: Places[BoundedHttp] = Places(CONNECTIONS_MAX)
        self._pace = Pace()

    def take(self, connection: "BoundedHttp") -> None:
        """Cuts another one if there is no place left."""
        loser = self._places.take(connection.origin, connection)
        if loser is not None:
            loser.cut(f"{CONNECTIONS_MAX} connections are open, most of them from there")

    def leave(self, connection: "BoundedHttp") -> None:
        """Idempotent."""
        self._places.leave(connection)

    def say(self, origin: str, what: str) -> None:
        """A line now and then."""
        times = self._pace.happened(f"{origin} {what}", asyncio.get_running_loop().time())
        if times:
            _log.warning("listen.admin: %s from=%s times=%d", what, origin, times)


class BoundedHttp(H11Protocol):
    """uvicorn's connection, with its missing bounds."""

    def __init__(self, places: AdminPlaces, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.logger = _UNSAID
        self.origin = ""
        self._places = places
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a place."""
        super().connection_made(transport)
        self.origin = self.client[0] if self.client else ""
        self._places.take(self)
        self._must_end_in(REQUEST_S_MAX, f"no whole request within {REQUEST_S_MAX:g} s")

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives its place back."""
        self._places.leave(self)
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """A request has come whole: a new cycle stands for it."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.cycle.response_complete:
            self._must_end_in(ANSWER_S_MAX, f"an answer was not taken within {ANSWER_S_MAX:g} s")

    def on_response_complete(self) -> None:
        """The answer has left for the socket's buffer; the next request may come, or nothing any more."""
        super().on_response_complete()
        self._must_end_in(REQUEST_S_MAX, "")

    def send_400_response(self, msg: str) -> None:
        """Says it now and then, in place of uvicorn's line for each.

        What is malformed may come behind a sound request, whose answer is on its way or has gone: 400 would then
        break the order of HTTP, so the connection ends instead.
        """
        self._places.say(self.origin, "malformed requests")
        if self.conn.our_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete):
            super().send_400_response(msg)
            return
        if self.cycle is not None:
            self.cycle.disconnected = True  # so that its answer goes nowhere
        self.transport.abort()

    def cut(self, why: str) -> None:
        """why: for the log; empty if it is no news."""
        self._places.leave(self)
        if why:
            self._places.say(self.origin, f"cut a connection: {why}")
        self.transport.abort()

    def _must_end_in(self, seconds: float, why: str) -> None:
        if self._end is not None:
            self._end.cancel()
        self._end = self.loop.call_later(seconds, self.cut, why)
