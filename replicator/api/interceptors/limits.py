"""Bounds the calls in flight, and refuses all new ones while the node drains.

gRPC's own `maximum_concurrent_rpcs` is not used: it has been unreliable (grpc/grpc#41531), and does not say why it
refuses.
"""

import asyncio
from typing import Any, Final

from replicator.api.context import Context
from replicator.api.interceptors.unary import Handler, UnaryInterceptor
from replicator.model.errors import Overloaded, ShuttingDown

OVERLOADED_RETRY_AFTER_S: Final = 0.1


class LimitsInterceptor(UnaryInterceptor):
    """A refused call costs nothing but its own headers."""

    def __init__(self, calls_in_flight_max: int) -> None:
        super().__init__()
        self._calls_in_flight_max = calls_in_flight_max
        self._calls_in_flight = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def drain(self) -> None:
        """From now on every new call is told to go elsewhere."""
        self._draining = True

    async def wait_idle(self) -> None:
        """Returns once no call is in flight."""
        await self._idle.wait()

    async def around(self, method: str, call: Handler, request: Any, context: Context) -> Any:  # noqa: ARG002
        if self._draining:
            raise ShuttingDown("this node is shutting down; another one will answer")
        if self._calls_in_flight >= self._calls_in_flight_max:
            raise Overloaded(
                f"{self._calls_in_flight_max} calls are in flight, the limit (limits.calls_in_flight_max); slow down",
                metadata={"limit": str(self._calls_in_flight_max)},
                retry_after_s=OVERLOADED_RETRY_AFTER_S,
            )
        self._calls_in_flight += 1
        self._idle.clear()
        try:
            return await call(request, context)
        finally:
            self._calls_in_flight -= 1
            if self._calls_in_flight == 0:
                self._idle.set()
