"""Addresses: what is dialled, logged and agreed on is HOST:PORT, and nothing else that gRPC would take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.model.addresses import ADDRESS_CHARS_MAX, address_flaw, is_valid_address


@pytest.mark.parametrize(
    "address",
    [
        "localhost:1",
        "eu-1.example.com:7001",
        "eu-1.example.com.:7001",
        "my_service:65535",
        "10.0.0.1:7001",
        "0.0.0.0:7001",
        "[::1]:7001",
        "[2001:db8::7]:7001",
        "[::ffff:10.0.0.1]:7001",
        "n1.peer:1",
        ".".join(["a" * 63] * 3 + ["b" * 61]) + ":65535",
    ],
)
def test_names_and_both_kinds_of_ip_addresses_are_addresses(address: str) -> None:
    assert is_valid_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":1",
        "host",
        "host:",
        "host:0",
        "host:65536",
        "host:007",
        "host:+7",
        "host: 7",
        "host:\u0667",  # a digit, in Arabic
        "host:7\n",
        "host\n:7",
        "host:7\n2026-11-26T00:00:00.000Z CRITICAL replicator.storage: the disk is damaged:7",
        "host\x1b[2J:7",
        "h\u00f6st:7",
        "h ost:7",
        "unix:7",
        "unix:/run/socket:7",
        "unix:///run/socket:7",
        "DNS:7",
        "vsock:7",
        "dns:///host:7",
        "ipv4:10.0.0.1:7,10.0.0.2:7",
        "host,other:7",
        "host/path:7",
        "user@host:7",
        "host%25:7",
        "::1:7",
        "[::1%eth0]:7",
        "[::1%\n]:7",
        "[host]:7",
        "[::1:7",
        "[]:7",
        "-host:7",
        "host-:7",
        "host..example:7",
        ".host:7",
        "a" * 64 + ":7",
        "256.0.0.1:7",
        "1.2.3:7",
        "1:7",
        "a." * 127 + ":7",
        "a" * ADDRESS_CHARS_MAX + ":7",
    ],
)
def test_everything_else_is_refused(address: str) -> None:
    assert not is_valid_address(address)


@given(st.text(max_size=40) | st.from_regex(r"[\[\]a-z0-9.:%_-]{1,20}:[0-9]{1,6}", fullmatch=True))
def test_whatever_passes_is_printable_ascii_without_spaces(address: str) -> None:
    assert (address_flaw(address) is None) == is_valid_address(address)
    if is_valid_address(address):
        assert address.isascii()
        assert address.isprintable()
        assert not set(address) & set(" ,/%@\\\"'")
