"""Makes messages of bytes, within the call: so what cannot be read is refused like any other bad argument.

gRPC itself decodes before any of us is called, and ends the call with UNKNOWN and a traceback if that fails.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from replicator.api.context import Context
from replicator.api.grpc_status import error_trailers, status_code
from replicator.api.interceptors.unary import OWN_METHODS
from replicator.api.interceptors.wrapping import Method, WrappingInterceptor
from replicator.model.errors import InvalidArgument

_Decoder: TypeAlias = Callable[[bytes], Any]


class DecodeInterceptor(WrappingInterceptor):
    """Inside the others: they pass bytes on, so that trace, errors and limits see a request that does not decode.

    Health and reflection, which stand outside the others, answer such a request by the same error.
    """

    def wraps(self, method: str, handler: Any) -> bool:  # noqa: ARG002
        return handler.request_deserializer is not None

    def wrap(self, method: str, handler: Any) -> Method:
        return _decoding(method, handler)


def _decoding(method: str, handler: Any) -> Method:
    decode, encode = handler.request_deserializer, handler.response_serializer
    if handler.unary_unary is not None:
        behaviour = _unary(handler.unary_unary, decode, is_own=method.startswith(OWN_METHODS))
        return grpc.unary_unary_rpc_method_handler(behaviour, None, encode)
    if handler.unary_stream is not None:
        streaming = _streaming(handler.unary_stream, decode)
        return grpc.unary_stream_rpc_method_handler(streaming, None, _encoded_already_or(encode))
    if handler.stream_stream is not None and method.startswith(OWN_METHODS):
        return grpc.stream_stream_rpc_method_handler(_exchanging(handler.stream_stream, decode), None, encode)
    if handler.stream_stream is not None:
        return grpc.stream_stream_rpc_method_handler(_conversing(handler.stream_stream, decode), None, encode)
    return handler  # type: ignore[no-any-return]  # nothing that is served takes a stream and gives one answer


def _encoded_already_or(encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Watch puts its messages together from pieces that many share."""
    return lambda message: message if isinstance(message, bytes) else encode(message)


def _unary(call: Callable[[Any, Any], Awaitable[Any]], decode: _Decoder, *, is_own: bool) -> Any:
    """Of ours: raises. Of health: ends the call, as nothing around it would."""

    async def unary(raw: bytes, context: Context) -> Any:
        request = _decoded(raw, decode) if is_own else await _decoded_or_ended(raw, decode, context)
        return await call(request, context)

    return unary


def _streaming(call: Callable[[Any, Any], Awaitable[None]], decode: _Decoder) -> Any:
    """A method that writes its answers to the context, as Watch of health does."""

    async def streaming(raw: bytes, context: Context) -> None:
        await call(await _decoded_or_ended(raw, decode, context), context)

    return streaming


def _conversing(call: Callable[[Any, Any], AsyncIterator[Any]], decode: _Decoder) -> Any:
    """A method that yields an answer for each request, as reflection does."""

    async def conversing(raws: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
        async def requests() -> AsyncIterator[Any]:
            async for raw in raws:
                yield await _decoded_or_ended(raw, decode, context)

        async for answer in call(requests(), context):
            yield answer

    return conversing


def _exchanging(call: Callable[[Any, Any], Awaitable[None]], decode: _Decoder) -> Any:
    """A method of ours that reads and writes as it likes. What is no message ends the whole stream."""

    async def exchanging(raws: AsyncIterator[bytes], context: Context) -> None:
        async def requests() -> AsyncIterator[Any]:
            async for raw in raws:
                yield await _decoded_or_ended(raw, decode, context)

        await call(requests(), context)

    return exchanging


async def _decoded_or_ended(raw: bytes, decode: _Decoder, context: Context) -> Any:
    try:
        return _decoded(raw, decode)
    except InvalidArgument as error:
        await context.abort(status_code(error), error.message, error_trailers(error))


def _decoded(raw: bytes, decode: _Decoder) -> Any:
    """Raises InvalidArgument, which says nothing of what was sent."""
    try:
        return decode(raw)
    except DecodeError:
        raise InvalidArgument(
            f"the request ({len(raw)} bytes) is no message of this method: it was cut or altered, or another program "
            "made it",
            metadata={"field": "request"},
        ) from None
