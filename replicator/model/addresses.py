"""HOST:PORT, as nodes advertise it, dial it and bind it: the one place that says what that is.

Strict, because addresses come from files, from callers and out of the log, and go into log lines and into gRPC, which
takes schemes (`unix:`) and lists for addresses, too.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

ADDRESS_CHARS_MAX: Final = 260  # a DNS name has up to 253, a colon and a port follow
ADDRESS_FORM: Final = "HOST:PORT: a DNS name, an IPv4 address or an [IPv6] address, and a port from 1 to 65535"

_DNS_NAME_CHARS_MAX: Final = 253
# Letters, digits and '-', as RFC 1123 says, and '_', which names of containers have.
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
# To gRPC these, before a colon, are no hosts: `unix:7` is a socket file.
_GRPC_SCHEMES: Final = frozenset({"dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds", "google-c2p"})
_IPV6: Final = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\]")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_PORT_MAX: Final = 65535


def is_valid_address(text: str) -> bool:
    """True for HOST:PORT as ADDRESS_FORM says. A function of the text alone, so that all nodes judge alike."""
    host, _, port = text.rpartition(":")
    return (
        len(text) <= ADDRESS_CHARS_MAX
        and _PORT.fullmatch(port) is not None
        and int(port) <= _PORT_MAX
        and _is_valid_host(host)
    )


def address_flaw(text: str) -> str | None:
    """What is wrong with it, as the end of a sentence that begins with the address; None if it is one."""
    if is_valid_address(text):
        return None
    scheme, mark, rest = text.partition("://")
    if mark and is_valid_address(rest.rstrip("/")):
        return f"begins with {scheme + mark!r}: leave that out, and write {rest.rstrip('/')}"
    host, _, port = text.rpartition(":")
    if is_valid_address(f"[{host}]:{port}"):
        return f"is an IPv6 address without brackets: write [{host}]:{port}"
    if _is_valid_host(text) or _parses(IPv6Address, text):
        return f"has no port; it must be {ADDRESS_FORM}"
    return f"must be {ADDRESS_FORM}"


def _is_valid_host(host: str) -> bool:
    in_brackets = _IPV6.fullmatch(host)
    if in_brackets is not None:
        return _parses(IPv6Address, in_brackets[1])
    if len(host) > _DNS_NAME_CHARS_MAX or _DNS_NAME.fullmatch(host) is None or host.lower() in _GRPC_SCHEMES:
        return False
    # A name whose last label is a number would be read as an IPv4 address by some, and as a name by others.
    return not host.rstrip(".").rpartition(".")[2].isdigit() or _parses(IPv4Address, host)


def _parses(kind: type[IPv4Address | IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except AddressValueError:
        return False
    return True
