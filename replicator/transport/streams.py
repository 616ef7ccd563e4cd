"""One face for both ends of a gRPC stream, in bytes; every way in which a stream can break becomes LinkLost.

Serializers are None on purpose: gRPC hands over raw bytes, and only `LinkMessage` ever parses them.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import DecodeError

from replicator.v1 import peer_pb2

SERVICE: Final = "replicator.v1.PeerService"
METHOD: Final = "Link"
FETCH_METHOD: Final = "FetchSnapshot"
ABANDON_S: Final = 1.0


class LinkLost(Exception):
    """The stream ended or broke. The text says how, for the log. code: status of the RPC, if it has one."""

    def __init__(self, why: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(why)
        self.code = code


class ByteStream(Protocol):
    """One end of an open stream. One reader and one writer at a time.

    is_dialled: by this end; then `end` leaves the other direction open, so its end must be awaited.
    """

    is_dialled: bool

    async def read(self) -> bytes | None:
        """Next message; None when the other side has ended the stream in order. Raises LinkLost."""
        ...

    async def write(self, message: bytes) -> None:
        """Returns once HTTP/2 flow control has taken the message. Raises LinkLost."""
        ...

    async def end(self) -> None:
        """Says that nothing more will be written."""
        ...


@contextlib.contextmanager
def breaking_is_loss() -> Iterator[None]:
    """Turns every way in which gRPC reports a broken stream into LinkLost.

    One of them is CancelledError, raised in every task that uses a call which another task has cancelled: it must not
    pass for a cancellation of this task, which nobody asked for, and which would end the dialling in silence.
    """
    try:
        yield
    except (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError) as error:
        raise LinkLost(describe(error), error.code() if isinstance(error, grpc.aio.AioRpcError) else None) from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling() > 0:
            raise
        raise LinkLost("CANCELLED: the call was given up") from None


class DialledStream:
    """The client's end."""

    is_dialled = True

    def __init__(self, call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        self._call = call

    async def connected(self) -> None:
        """Returns once the connection is up. Raises LinkLost."""
        with breaking_is_loss():
            await self._call.wait_for_connection()

    async def read(self) -> bytes | None:
        with breaking_is_loss():
            message: Any = await self._call.read()
        return None if message is grpc.aio.EOF else message

    async def write(self, message: bytes) -> None:
        with breaking_is_loss():
            await self._call.write(message)

    async def end(self) -> None:
        with breaking_is_loss():
            await self._call.done_writing()

    async def abandon(self) -> None:
        """Cancels, and discards what has arrived but was never read; returns within ABANDON_S.

        C-core completes a call, and frees its bytes, only once they are read: up to a whole window would leak. And
        after a failed write, grpcio takes the call for done: `read` and `cancel` then do nothing any more. So the one
        reach below grpcio's public face is here; a test with unread frames fails if an upgrade moves it.
        """
        self._call.cancel()
        discarding = asyncio.create_task(self._discard())
        try:
            await asyncio.wait((discarding,), timeout=ABANDON_S)
        finally:
            discarding.cancel()

    async def _discard(self) -> None:
        core: Any = self._call._cython_call  # type: ignore[attr-defined]
        with contextlib.suppress(LinkLost), breaking_is_loss():
            while await core.receive_serialized_message() is not grpc.aio.EOF:
                pass


class AcceptedStream:
    """The server's end. It ends when the handler returns, so `end` has nothing to do."""

    is_dialled = False

    def __init__(self, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        self._context = context
        self.on_heard: Callable[[], None] | None = None  # called once, with the first message

    async def read(self) -> bytes | None:
        with breaking_is_loss():
            message: Any = await self._context.read()
        if message is grpc.aio.EOF:
            return None
        on_heard, self.on_heard = self.on_heard, None
        if on_heard is not None:
            on_heard()
        return message  # type: ignore[no-any-return]

    async def write(self, message: bytes) -> None:
        with breaking_is_loss():
            await self._context.write(message)

    async def end(self) -> None:
        return


def describe(error: BaseException) -> str:
    """Status and details of an RPC, or the error's own words; one line."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {' '.join((error.details() or '').split())}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def parse(message: bytes) -> peer_pb2.LinkMessage:
    """Raises LinkLost for anything that is not a LinkMessage with a body."""
    try:
        parsed = peer_pb2.LinkMessage.FromString(message)
    except DecodeError:
        raise LinkLost(f"malformed message of {len(message)} bytes") from None
    if parsed.WhichOneof("body") is None:
        raise LinkLost("message without a known body, perhaps of a newer release")
    return parsed
