"""A call's head that is no text ends that call, not the server: relied on, so held.

grpcio 1.84 and 1.85 decode the method in the loop that accepts calls; the first one that is not UTF-8 ends the loop,
and the port answers nobody any more. 1.83 decodes it in the task of the call.
"""

from typing import Any

import grpc.aio
import pytest

from tests.support.raw_http2 import END_HEADERS, END_STREAM, HEADERS, RawHttp2, headers
from tests.support.real_nodes import until


@pytest.mark.parametrize(
    "bad",
    [headers(1, "/S/\udcff"), headers(1, "/S/Echo", extra=(("name", "\udcff"),)), headers(1, "\udcff")],
    ids=["method", "metadata", "path"],
)
async def test_a_head_that_is_not_utf_8_leaves_the_server_serving(bad: bytes) -> None:
    async def echo(request: bytes, _: object) -> bytes:
        return request

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("S", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with RawHttp2(port) as peer:
            await peer.say(bad)
            await peer.say(headers(3, "/no/method", END_HEADERS | END_STREAM))
            await until(lambda: any(kind == HEADERS and stream == 3 for kind, stream, _ in peer.heard), "an answer")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/S/Echo")
            assert await call(b"said", timeout=30) == b"said"
    finally:
        await server.stop(0.0)
