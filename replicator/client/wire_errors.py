"""gRPC errors back to the error family. The only place of the client that reads statuses.

A status with our ErrorInfo says itself what happened. One without comes from the transport or from something between:
a write that was sent may then have happened, whatever the code says.
"""

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


def error_of(error: grpc.aio.AioRpcError, address: str, *, is_write: bool) -> ReplicatorError:
    """The typed error of a failed call that was sent to `address`."""
    typed = _typed(error)
    if typed is not None:
        return typed
    code, details = error.code(), error.details() or "no details"
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


def _typed(error: grpc.aio.AioRpcError) -> ReplicatorError | None:
    raw = next((value for key, value in error.trailing_metadata() if key == DETAILS_KEY), None)
    if not isinstance(raw, bytes):
        return None
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
