"""The one table from errors to gRPC statuses, and the shape of what travels with them.

A status that clients and proxies retry on their own is only ever used where nothing happened: asserted at import.
"""

import math
from collections.abc import Mapping
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from replicator.model.errors import (
    ERROR_OF_REASON,
    ChangeInProgress,
    Compacted,
    DeadlineExceeded,
    Forbidden,
    Internal,
    InvalidArgument,
    InvalidToken,
    NoLeader,
    NoMajority,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ReplicaBehind,
    ReplicatorError,
    SessionExpired,
    ShuttingDown,
    StorageFull,
    TokenAhead,
    Unavailable,
    WriteIdReused,
)

STATUS_OF: Final[Mapping[type[ReplicatorError], grpc.StatusCode]] = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    WriteIdReused: grpc.StatusCode.INVALID_ARGUMENT,
    Compacted: grpc.StatusCode.OUT_OF_RANGE,
    InvalidToken: grpc.StatusCode.INVALID_ARGUMENT,
    TokenAhead: grpc.StatusCode.OUT_OF_RANGE,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    NoLeader: grpc.StatusCode.UNAVAILABLE,
    NotLeader: grpc.StatusCode.UNAVAILABLE,
    ShuttingDown: grpc.StatusCode.UNAVAILABLE,
    ReplicaBehind: grpc.StatusCode.UNAVAILABLE,
    ChangeInProgress: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StorageFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    SessionExpired: grpc.StatusCode.FAILED_PRECONDITION,
    NoMajority: grpc.StatusCode.FAILED_PRECONDITION,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    OutcomeUnknown: grpc.StatusCode.UNKNOWN,
    Internal: grpc.StatusCode.INTERNAL,
}
RETRIED_BY_CLIENTS: Final = frozenset({grpc.StatusCode.UNAVAILABLE})

assert STATUS_OF.keys() == set(ERROR_OF_REASON.values()), "every error that travels needs a status"
assert all(error.applied == "no" for error, code in STATUS_OF.items() if code in RETRIED_BY_CLIENTS)

ERROR_DOMAIN: Final = "replicator"
DETAILS_KEY: Final = "grpc-status-details-bin"
RETRY_AFTER_S_DEFAULT: Final = 0.05
# Headers share one limit of 8 KiB with everything else that a proxy adds; details repeat the message once.
MESSAGE_CHARS_MAX: Final = 1024
METADATA_VALUE_CHARS_MAX: Final = 256

# gRPC codes and google.rpc codes have the same names and numbers; the types differ.
_CODE_VALUE: Final = {code: code_pb2.Code.Value(code.name) for code in STATUS_OF.values()}


def status_code(error: ReplicatorError) -> grpc.StatusCode:
    """The row of the error's class, or of the nearest base class that has one."""
    for cls in type(error).__mro__:
        if cls in STATUS_OF:
            return STATUS_OF[cls]
    return grpc.StatusCode.INTERNAL


def error_trailers(error: ReplicatorError) -> tuple[tuple[str, bytes], ...]:
    """`status_bytes` as trailing metadata."""
    return ((DETAILS_KEY, status_bytes(error)),)


def status_bytes(error: ReplicatorError) -> bytes:
    """A serialized google.rpc.Status with ErrorInfo, and RetryInfo where a retry helps."""
    status = status_pb2.Status(code=_CODE_VALUE[status_code(error)], message=short(error.message))
    details = [
        error_details_pb2.ErrorInfo(
            reason=error.reason,
            domain=ERROR_DOMAIN,
            metadata={name: value[:METADATA_VALUE_CHARS_MAX] for name, value in error.metadata.items()}
            | {"applied": error.applied},
        )
    ]
    retry_after_s = retry_after(error)
    for detail in (*details, *(() if retry_after_s is None else (_retry_info(retry_after_s),))):
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return bytes(status.SerializeToString())


def plain_status_bytes(code: grpc.StatusCode, message: str) -> bytes:
    """Of an end that is no error of ours: it says nothing of what happened."""
    return bytes(status_pb2.Status(code=code.value[0], message=short(message)).SerializeToString())


def retry_after(error: ReplicatorError) -> float | None:
    """Seconds to wait before a retry; None where a retry cannot help."""
    if error.retry_after_s is not None:
        return error.retry_after_s
    return RETRY_AFTER_S_DEFAULT if error.retryable else None


def short(message: str) -> str:
    """The message, cut where it would not fit the headers."""
    return message if len(message) <= MESSAGE_CHARS_MAX else message[: MESSAGE_CHARS_MAX - 3] + "..."


def _retry_info(retry_after_s: float) -> error_details_pb2.RetryInfo:
    fraction, whole = math.modf(max(0.0, retry_after_s))
    return error_details_pb2.RetryInfo(retry_delay=Duration(seconds=int(whole), nanos=int(fraction * 1e9)))
