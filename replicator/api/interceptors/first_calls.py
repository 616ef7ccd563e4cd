"""Counts connections over TLS that send no call: mostly handshakes that failed, of which gRPC tells a server nothing.

gRPC asks for the certificate at each handshake, on a thread of its own, and names the peer with each call. So what
began and did not call within SETTLE_S had no certificate that is trusted here, spoke no TLS, or only looked whether the
port is open. A client that connects long before its first call is counted too; later it makes up for another one.
"""

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final

from replicator.api.context import Context
from replicator.api.interceptors.unary import Handler, UnaryInterceptor
from replicator.core.pace import Pace
from replicator.model.observe import Observer, Signal

SETTLE_S: Final = 10.0
# A peer that was silent for longer may be a new connection from a port that was used before (TIME_WAIT lasts as long).
SAME_PEER_S: Final = 60.0
PEERS_MAX: Final = 65_536  # that are known to have called
BEGUN_MAX: Final = 65_536  # handshakes within SETTLE_S; more are not counted

_log = logging.getLogger(__name__)


class FirstCalls(UnaryInterceptor):
    """One per API port with TLS: around batches; IntakeInterceptor tells of all other calls.

    `began` may be called on any thread, all else on the loop.
    """

    def __init__(self, observer: Observer, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._observer, self._now_s = observer, now_s
        self._begun: deque[float] = deque(maxlen=BEGUN_MAX)
        self._peers: OrderedDict[str, float] = OrderedDict()  # when each called last, the longest ago first
        self._owed = 0  # handshakes that have settled, less the peers that have called
        self._pace = Pace()

    async def around(self, method: str, call: Handler, request: Any, context: Context) -> Any:  # noqa: ARG002
        self.called(context.peer())
        return await call(request, context)

    def forget(self) -> None:
        """The port is open: what gRPC asked for before was no handshake."""
        self._begun.clear()

    def began(self) -> None:
        """A handshake."""
        self._begun.append(self._now_s())

    def called(self, peer: str) -> None:
        """The connection of `peer` carries a call."""
        now_s, last_s = self._now_s(), self._peers.get(peer, float("-inf"))
        self._peers[peer] = now_s
        self._peers.move_to_end(peer)
        if len(self._peers) > PEERS_MAX:
            self._peers.popitem(last=False)
        if now_s - last_s > SAME_PEER_S:
            self._owed -= 1

    def look(self) -> None:
        """Once a second or so."""
        now_s = self._now_s()
        while self._begun and now_s - self._begun[0] > SETTLE_S:
            self._begun.popleft()
            self._owed += 1
        # Those that have called and are not settled count for themselves.
        silent, self._owed = max(0, self._owed), min(0, self._owed)
        self._owed = max(self._owed, -len(self._begun))
        if not silent:
            return
        self._observer.count(Signal.CONNECTIONS_SILENT, silent)
        times = self._pace.happened("silent", now_s, silent)
        if times:
            _log.warning(
                "listen.api: connections over TLS that sent no call: no trusted certificate, no TLS, or a probe; "
                "GRPC_VERBOSITY=INFO shows why handshakes fail; times=%d",
                times,
            )
