"""What a client refuses before it connects anywhere."""

import math

import pytest

import replicator
from replicator.client.convert import prefix_end
from replicator.model.errors import InvalidArgument


@pytest.mark.parametrize("endpoints", [[], ["nonsense"], ["host:"], [":1"], ["host:0"], ["host:70000"], ["h:1"] * 0])
def test_endpoints_must_be_addresses(endpoints: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="endpoint"):
        replicator.connect(endpoints)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, math.inf, math.nan])
def test_a_call_has_a_finite_deadline(timeout_s: float) -> None:
    with pytest.raises(InvalidArgument, match="timeout_s"):
        replicator.connect(["127.0.0.1:1"], timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("prefix", "end"), [(b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", b""), (b"", b""), (b"a\x00", b"a\x01")]
)
def test_a_prefix_ends_before_the_first_key_that_does_not_have_it(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end


def test_a_missing_certificate_file_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"tls\.ca_file"):
        replicator.ClientTls("/nowhere/ca.pem").credentials()


def test_a_key_without_its_certificate_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="come together"):
        replicator.ClientTls("/nowhere/ca.pem", key_file="/nowhere/key.pem").credentials()
