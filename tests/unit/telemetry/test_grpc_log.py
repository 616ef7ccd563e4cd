"""What callers do to gRPC leaves a line now and then, and nothing of what they sent."""

import logging

import pytest

from replicator.telemetry.grpc_log import GrpcLogFilter


class ExecuteBatchError(Exception):
    """Named as gRPC's, which cannot be made outside it."""


def a_record(text: str, error: Exception | None = None) -> logging.LogRecord:
    error = error or ValueError("no UTF-8")
    return logging.LogRecord("grpc", logging.ERROR, __file__, 1, text, (), (type(error), error, None))


def test_many_invalid_heads_are_one_line_without_what_was_sent() -> None:
    invalid = GrpcLogFilter()
    records = [a_record("Invalid encoding on b'secret'") for _ in range(5)]

    assert [invalid.filter(record) for record in records] == [True, False, False, False, False]
    assert (records[0].getMessage(), records[0].exc_info) == ("calls with a head that is not UTF-8: times=1", None)


@pytest.mark.parametrize(
    "record",
    [
        a_record("Unexpected [UnicodeDecodeError] raised by servicer method [/secret]"),
        a_record("ExecuteBatchError raised in core by servicer method [/S/M]", ExecuteBatchError()),
    ],
)
def test_tracebacks_that_tell_nothing_are_left_out(record: logging.LogRecord) -> None:
    assert not GrpcLogFilter().filter(record)


def test_all_else_that_grpc_says_passes_unchanged() -> None:
    record = a_record("Unexpected error")

    assert GrpcLogFilter().filter(record)
    assert record.exc_info is not None
