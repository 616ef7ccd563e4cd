"""What every interceptor that replaces handlers shares: each method is wrapped once, and remembered."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

Method: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class WrappingInterceptor(grpc.aio.ServerInterceptor):
    """There are as many wrapped handlers as methods."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Method] = {}

    @abstractmethod
    def wraps(self, method: str, handler: Any) -> bool:
        """False: calls of that method pass as they are. method: `/package.Service/Method`."""

    @abstractmethod
    def wrap(self, method: str, handler: Any) -> Method:
        """What takes the place of `handler`."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Called by gRPC for every call, hence the cache."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None or not self.wraps(method, handler):
                return handler
            self._wrapped[method] = self.wrap(method, handler)
        return self._wrapped[method]
