"""Takes in the one request of a call within bounds of time and memory, before anything else looks at the call.

gRPC reads the request of a unary call before it calls anybody, for as long as the client likes. On the wire, though,
one request is a stream of one: taken as a stream, the wait for it is ours to bound. Until then a call holds a part of
its request, up to the whole; so few wait at a time, and where too many do, the largest crowd gives up its oldest.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio

from replicator.api.context import Context, address_of
from replicator.api.grpc_status import error_trailers, short, status_code
from replicator.api.interceptors.wrapping import Method, WrappingInterceptor
from replicator.core.places import Places
from replicator.model.errors import DeadlineExceeded, InvalidArgument, Overloaded, ReplicatorError
from replicator.model.observe import Observer, Signal
from replicator.model.patience import Patience

WAITING_MAX: Final = 64  # calls whose request has not come whole; with MESSAGE_BYTES_MAX, 192 MiB at most
REQUEST_S_MAX: Final = 5.0
CROWDED_RETRY_AFTER_S: Final = 0.1

_Taken: TypeAlias = Callable[[bytes, Context], Awaitable[Any]]


class IntakeInterceptor(WrappingInterceptor):
    """Outermost. Of all methods with one request: ours, and those of health. The others pass."""

    def __init__(self, observer: Observer, on_call: Callable[[str], None] | None = None) -> None:
        """on_call: is told the peer of each call."""
        super().__init__()
        self._observer, self._on_call = observer, on_call
        self._waiting: Places[Patience] = Places(WAITING_MAX)

    def wraps(self, method: str, handler: Any) -> bool:  # noqa: ARG002
        return not handler.request_streaming

    def wrap(self, method: str, handler: Any) -> Method:
        assert handler.request_deserializer is None, "bytes until DecodeInterceptor"
        taken: _Taken = handler.unary_stream if handler.response_streaming else handler.unary_unary

        async def opened(requests: AsyncIterator[bytes], context: Context) -> Any:
            if self._on_call is not None:
                self._on_call(context.peer())
            return await taken(await self._request(method, requests, context), context)

        behaviour: Any = opened
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(behaviour, None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(behaviour, None, handler.response_serializer)

    async def _request(self, method: str, requests: AsyncIterator[bytes], context: Context) -> bytes:
        began_s = time.monotonic()
        try:
            return await self._whole(requests, context)
        except ReplicatorError as error:
            code = status_code(error)
            self._observer.record(Signal.CALL_S, time.monotonic() - began_s, method=method, code=code.name)
            await context.abort(code, short(error.message), error_trailers(error))

    async def _whole(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        remaining_s = context.time_remaining()
        patience = Patience(REQUEST_S_MAX if remaining_s is None else min(REQUEST_S_MAX, remaining_s))
        try:
            async with patience:
                loser = self._waiting.take(address_of(context), patience)
                if loser is not None:
                    loser.end()
                async for raw in requests:
                    return raw
        except TimeoutError:
            if patience.is_ended:
                raise Overloaded(
                    f"{WAITING_MAX} calls wait for the rest of their request, most of them from your address",
                    metadata={"limit": str(WAITING_MAX)},
                    retry_after_s=CROWDED_RETRY_AFTER_S,
                ) from None
            raise DeadlineExceeded("the request did not come whole in time; nothing was done") from None
        finally:
            self._waiting.leave(patience)
        raise InvalidArgument("the call ended without a request", metadata={"field": "request"})
