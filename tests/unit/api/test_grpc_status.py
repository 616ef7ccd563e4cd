"""The table from errors to statuses, and what travels in the trailers."""

import pytest
from google.rpc import error_details_pb2, status_pb2

from replicator.api.grpc_status import (
    DETAILS_KEY,
    MESSAGE_CHARS_MAX,
    STATUS_OF,
    error_trailers,
    retry_after,
    short,
    status_code,
)
from replicator.model.errors import ERROR_OF_REASON, InvalidArgument, NoLeader, Overloaded, ReplicatorError


def details_of(error: ReplicatorError) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo | None]:
    ((key, raw),) = error_trailers(error)
    assert key == DETAILS_KEY
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    details = status_pb2.Status.FromString(raw).details
    assert details[0].Unpack(info)
    return info, retry if len(details) > 1 and details[1].Unpack(retry) else None


@pytest.mark.parametrize("kind", list(ERROR_OF_REASON.values()))
def test_every_error_travels_with_its_reason_and_whether_the_write_may_have_happened(
    kind: type[ReplicatorError],
) -> None:
    info, retry = details_of(kind("what was wrong", metadata={"limit": "5"}))

    assert (info.reason, info.domain) == (kind.reason, "replicator")
    assert dict(info.metadata) == {"limit": "5", "applied": kind.applied}
    assert (retry is not None) == kind.retryable


def test_a_delay_that_the_error_names_is_kept() -> None:
    _, retry = details_of(Overloaded("slow down", retry_after_s=1.25))

    assert retry is not None
    assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (1, 250_000_000)
    assert retry_after(InvalidArgument("never")) is None


def test_an_error_without_a_row_takes_that_of_its_base() -> None:
    class Special(NoLeader):
        """Not in the table."""

    assert status_code(Special("x")) is STATUS_OF[NoLeader]


def test_a_long_message_is_cut_to_fit_the_headers() -> None:
    error = InvalidArgument("x" * 100_000, metadata={"key": "y" * 100_000})

    assert len(short(error.message)) == MESSAGE_CHARS_MAX
    assert sum(len(key) + len(value) for key, value in error_trailers(error)) < 4096
