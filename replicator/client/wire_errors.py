"""gRPC errors back to the error family. The only place of the client that reads statuses.

A status with our ErrorInfo says itself what happened. One without comes from the transport or from something between:
a write that was sent may then have happened, whatever the code says.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from replicator.model.errors import (
    DeadlineExceeded,
    Forbidden,
    Internal,
    InvalidArgument,
    OutcomeUnknown,
    ReplicatorError,
    Unavailable,
    error_from_reason,
)

ERROR_DOMAIN: Final = "replicator"
DETAILS_KEY: Final = "grpc-status-details-bin"
APPLIED_KEY: Final = "applied"

# Refusals that come before any handler, ours or a proxy's: nothing happened.
_REFUSALS: Final[dict[grpc.StatusCode, type[ReplicatorError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED: Forbidden,
    grpc.StatusCode.PERMISSION_DENIED: Forbidden,
    grpc.StatusCode.UNIMPLEMENTED: Unavailable,  # not a node, or one of another release: another endpoint may serve
}
_CODE_OF_NUMBER: Final[dict[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}


def error_of(error: grpc.aio.AioRpcError, address: str, *, is_write: bool) -> ReplicatorError:
    """The typed error of a failed call that was sent to `address`."""
    raw = next((value for key, value in error.trailing_metadata() if key == DETAILS_KEY), None)
    typed = _typed(raw) if isinstance(raw, bytes) else None
    return typed or _untyped(error.code(), error.details() or "no details", address, is_write=is_write)


def error_of_status(raw: bytes, address: str, *, is_write: bool) -> ReplicatorError:
    """The typed error of a batch, or of one of its operations, that the node at `address` answered with."""
    typed = _typed(raw)
    if typed is not None:
        return typed
    try:
        status = status_pb2.Status.FromString(raw)
    except DecodeError:
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message="a status that does not decode")
    code = _CODE_OF_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)
    return _untyped(code, status.message or "no details", address, is_write=is_write)


def same_again(error: ReplicatorError) -> ReplicatorError:
    """A copy for one more caller: an exception belongs to the one task that raises it."""
    copy = type(error)(error.message, metadata=error.metadata, retry_after_s=error.retry_after_s)
    copy.__cause__ = error.__cause__
    return copy


@contextmanager
def as_errors(address: str, *, is_write: bool) -> Iterator[None]:
    """Around a call to `address`: what gRPC raises becomes what it means. A caller's own cancellation passes."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise error_of(error, address, is_write=is_write) from error
    except grpc.aio.UsageError as error:  # raised before anything is sent
        raise Unavailable(f"the connection to {address} was just closed", metadata={"endpoint": address}) from error
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise connection_closed(address, is_write=is_write) from error  # the channel was closed under the call


def is_cancelled() -> bool:
    """Of a CancelledError: whether somebody cancelled this task, and not gRPC the call."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def garbled(address: str, *, is_write: bool) -> ReplicatorError:
    """Of a call that was answered by bytes that are no message."""
    return _untyped(grpc.StatusCode.UNKNOWN, "its answer is no message", address, is_write=is_write)


def connection_closed(address: str, *, is_write: bool) -> ReplicatorError:
    """Of a call that was sent over a connection that this client itself has closed."""
    facts = {"endpoint": address}
    if is_write:
        return OutcomeUnknown(
            "the client was closed while the write was under way: it may have happened", metadata=facts
        )
    return Unavailable("the client was closed while the call was under way", metadata=facts)


def _untyped(code: grpc.StatusCode, details: str, address: str, *, is_write: bool) -> ReplicatorError:
    said = f"{address} ended the call with {code.name}: {details}"
    facts = {"endpoint": address, "grpc_code": code.name}
    if code in _REFUSALS:
        return _REFUSALS[code](said, metadata=facts)
    if is_write:
        return OutcomeUnknown(
            f"{said}; the write may or may not have happened, retry it under the same write id only", metadata=facts
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"{address} did not answer in time", metadata=facts)
    if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS):
        return Internal(said, metadata=facts)
    return Unavailable(said, metadata=facts)


def _typed(raw: bytes) -> ReplicatorError | None:
    """raw: a serialized google.rpc.Status. None if it does not come from a node."""
    try:
        status = status_pb2.Status.FromString(raw)
    except DecodeError:
        return None
    info, retry_after_s = None, None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    if info is None or info.domain != ERROR_DOMAIN:
        return None
    metadata = {name: value for name, value in info.metadata.items() if name != APPLIED_KEY}
    return error_from_reason(info.reason, status.message, metadata=metadata, retry_after_s=retry_after_s)
