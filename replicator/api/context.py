"""What a handler gets besides the message: by gRPC for a unary call, by `BatchContext` for a batch of a stream."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio

from replicator.api.grpc_status import DETAILS_KEY, plain_status_bytes
from replicator.v1 import kv_pb2

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class BatchContext:
    """Stands in for Context: a batch ends with a status of its own, and its stream goes on.

    Has what interceptors and handlers use of gRPC's.
    """

    def __init__(self, batch: kv_pb2.BatchRequest, stream: Context) -> None:
        self._stream = stream
        self._metadata = tuple(batch.metadata.items())
        self._ends_s = time.monotonic() + batch.timeout_ms / 1000.0 if batch.timeout_ms else None
        self._code: grpc.StatusCode | None = None
        self._on_done: list[Callable[[BatchContext], None]] = []
        self.error = b""  # serialized google.rpc.Status, once the batch has failed

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Who opened the stream."""
        return self._stream.auth_context()

    def time_remaining(self) -> float | None:
        return None if self._ends_s is None else max(0.0, self._ends_s - time.monotonic())

    def peer(self) -> str:
        """Where the stream comes from."""
        return self._stream.peer()

    def add_done_callback(self, callback: "Callable[[BatchContext], None]") -> None:
        """For the moment when the client has taken the answer, or there is none to take."""
        self._on_done.append(callback)

    def finish(self) -> None:
        """Idempotent."""
        callbacks, self._on_done = self._on_done, []
        for callback in callbacks:
            callback(self)

    def code(self) -> grpc.StatusCode | None:
        return self._code

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Iterable[tuple[str, bytes]] = ()
    ) -> NoReturn:
        self._code = code
        self.error = dict(trailing_metadata).get(DETAILS_KEY) or plain_status_bytes(code, details)
        raise grpc.aio.AbortError


def address_of(context: Context) -> str:
    """Of the caller, without the port, which differs with each connection."""
    return context.peer().rpartition(":")[0]


def metadata_value(context: Context, key: str) -> str | None:
    """First text value under `key` of the call's metadata. The runtime hands over pairs, whatever the stubs say."""
    pairs: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
    return next((value for name, value in pairs if name == key and isinstance(value, str)), None)
