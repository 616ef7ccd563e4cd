"""The shape that all interceptors share: something around one unary call, or one batch of a stream."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio

from replicator.api.context import Context
from replicator.api.interceptors.wrapping import Method, WrappingInterceptor

OWN_METHODS: Final = "/replicator.v1."
Handler: TypeAlias = Callable[[Any, Context], Awaitable[Any]]


class UnaryInterceptor(WrappingInterceptor):
    """Wraps each of our unary methods once; there are as many wrapped handlers as methods. For batches: `chained`.

    A request is still bytes here: DecodeInterceptor, inside, makes a message of it.
    """

    @abstractmethod
    async def around(self, method: str, call: Handler, request: Any, context: Context) -> Any:
        """Calls `call(request, context)`, or refuses. method: `/package.Service/Method`."""

    def wraps(self, method: str, handler: Any) -> bool:
        return handler.unary_unary is not None and method.startswith(OWN_METHODS)

    def wrap(self, method: str, handler: Any) -> Method:
        inner: Any = handler.unary_unary

        async def outer(request: Any, context: Context) -> Any:
            return await self.around(method, inner, request, context)

        behaviour: Any = outer
        return grpc.unary_unary_rpc_method_handler(behaviour, handler.request_deserializer, handler.response_serializer)


def chained(interceptors: Sequence[UnaryInterceptor], method: str, call: Handler) -> Handler:
    """The same interceptors, outermost first, around what gRPC does not know as a call: a batch of a stream."""
    for interceptor in reversed(interceptors):
        call = _inside(interceptor, method, call)
    return call


def _inside(interceptor: UnaryInterceptor, method: str, call: Handler) -> Handler:
    async def outer(request: Any, context: Context) -> Any:
        return await interceptor.around(method, call, request, context)

    return outer
