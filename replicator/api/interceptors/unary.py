"""The shape that all interceptors share: something around one unary call."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio

from replicator.api.context import Context

OWN_METHODS: Final = "/replicator.v1."
Handler: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
_Method: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class UnaryInterceptor(grpc.aio.ServerInterceptor):
    """Wraps each of our methods once; there are as many wrapped handlers as methods.

    A request is still bytes here: DecodeInterceptor, inside, makes a message of it.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, _Method] = {}

    @abstractmethod
    async def around(self, method: str, call: Handler, request: Any, context: Context) -> Any:
        """Calls `call(request, context)`, or refuses. method: `/package.Service/Method`."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Called by gRPC for every call, hence the cache."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None or not method.startswith(OWN_METHODS):
            return handler
        self._wrapped[method] = self._wrap(method, handler)
        return self._wrapped[method]

    def _wrap(self, method: str, handler: _Method) -> _Method:
        inner: Any = handler.unary_unary

        async def outer(request: Any, context: Context) -> Any:
            return await self.around(method, inner, request, context)

        behaviour: Any = outer
        return grpc.unary_unary_rpc_method_handler(behaviour, handler.request_deserializer, handler.response_serializer)
