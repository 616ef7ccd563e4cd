"""`python -m benchmarks.compare.empty_server`: a grpc.aio server whose one unary method does nothing.

Prints its port, and serves until its standard input ends.
"""

import asyncio
import sys
from typing import Final

import grpc.aio
import uvloop

SERVICE: Final = "benchmarks.Empty"
METHOD: Final = "Call"
PATH: Final = f"/{SERVICE}/{METHOD}"


async def serve() -> None:
    """Bytes in, nothing out."""

    async def answer(_request: bytes, _context: object) -> bytes:
        return b""

    server = grpc.aio.server()
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(serve())
