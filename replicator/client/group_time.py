"""Time of the group, which says how old a client id is: as nodes tell it, continued by this process's own clock."""

import time
from math import inf

from replicator.model.errors import LOG_TIME_KEY, SessionExpired


class GroupTime:
    """What one client knows of it."""

    def __init__(self) -> None:
        self._ahead_ms = -inf  # of the monotonic clock; nothing was heard until then

    def heard(self, log_time_ms: int) -> None:
        """A node told it, perhaps one that lags: the latest time counts."""
        self._ahead_ms = max(self._ahead_ms, log_time_ms - _monotonic_ms())

    def refused(self, error: SessionExpired) -> None:
        """An id was too old or ahead: what came with the refusal counts, even if it is earlier than was thought."""
        told = error.metadata.get(LOG_TIME_KEY, "")
        if told.isdecimal():
            self._ahead_ms = int(told) - _monotonic_ms()

    def now_ms(self) -> int:
        """At least 1. A client that has heard nothing draws an id that is refused, and hears the time then."""
        return int(max(1.0, self._ahead_ms + _monotonic_ms()))


def _monotonic_ms() -> float:
    return time.monotonic() * 1000.0
