"""Holds each caller to a rate of new client ids, before their writes reach the log.

The log remembers a client from its first write on. A write can make one only while its client has released nothing
(`machine/sessions.py`), so only such writes count, and each client id once.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

from replicator.api.context import Context, address_of
from replicator.core.client_quota import ClientQuota, caller_of
from replicator.core.pace import Pace
from replicator.model.errors import Overloaded
from replicator.model.limits import CLIENT_ID_BYTES
from replicator.model.observe import Observer, Signal

COUNTED_MAX: Final = 16_384  # ids that count no more: of clients whose first writes are under way, and their retries

_FIRST_SEQUENCE: Final = 1

_log = logging.getLogger(__name__)


class NewClients:
    """One per node, over all streams and unary calls."""

    def __init__(self, per_s: int, observer: Observer, now_s: Callable[[], float] = time.monotonic) -> None:
        """per_s: from one address, over time."""
        self._now_s = now_s
        self._per_s = per_s
        self._quota = ClientQuota(per_s)
        self._observer = observer
        self._counted: OrderedDict[bytes, None] = OrderedDict()  # the oldest first
        self._pace = Pace()

    def admit(self, client_id: bytes, oldest_pending: int, context: Context) -> None:
        """Before a write is proposed. Raises Overloaded: nothing happened. Writes without an id, or a bad one, pass."""
        if oldest_pending != _FIRST_SEQUENCE or len(client_id) != CLIENT_ID_BYTES or client_id in self._counted:
            return
        host = unquote(address_of(context)).partition(":")[2].strip("[]")
        caller, now_s = caller_of(host), self._now_s()
        retry_after_s = self._quota.take(caller, now_s)
        if retry_after_s > 0.0:
            raise self._overloaded(caller, now_s, retry_after_s)
        self._counted[client_id] = None
        if len(self._counted) > COUNTED_MAX:
            self._counted.popitem(last=False)

    def _overloaded(self, caller: str, now_s: float, retry_after_s: float) -> Overloaded:
        self._observer.count(Signal.NEW_CLIENTS_REFUSED)
        times = self._pace.happened(caller, now_s)
        if times:
            _log.warning(
                "listen.api: refused new clients from=%s: more than %d a second "
                "(limits.new_clients_per_address_per_s_max); times=%d",
                caller, self._per_s, times,
            )  # fmt: skip
        return Overloaded(
            f"more than {self._per_s} new clients a second come from your address, the limit "
            "(limits.new_clients_per_address_per_s_max); keep a client for several writes",
            metadata={"limit": str(self._per_s)},
            retry_after_s=retry_after_s,
        )
