"""Checks made before anything starts, so that a node that cannot serve says so in one line and touches nothing.

gRPC tells neither "in use" from "not of this machine" nor a broken certificate from a taken port; the system does.
"""

import os
import socket
import ssl

from replicator.config.schema import NodeConfig, TlsSection
from replicator.model.errors import StartupError


def check_environment(config: NodeConfig) -> None:
    """Raises StartupError naming the field. The ports are taken for good later; a race for one is met there."""
    if config.tls is not None:
        _check_certificates(config.tls)
    for field, address in (
        ("listen.api", config.api_listen),
        ("listen.peer", config.peer_listen),
        ("listen.admin", config.listen.admin),
    ):
        if address is not None:
            _check_bindable(field, address)


def _check_bindable(field: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        family, *_, resolved = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(resolved)
            probe.listen(1)
    except (OSError, UnicodeError) as error:
        raise StartupError(
            f"{field}: cannot bind {address}: {_why(error)}; stop what uses the port, or set another address"
        ) from None


def _check_certificates(tls: TlsSection) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An encrypted key would make OpenSSL ask at the terminal; an empty password makes it fail instead.
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except OSError as error:
        raise StartupError(
            f"tls.cert_file: {tls.cert_file} and tls.key_file {tls.key_file} are no usable pair of PEM certificate and "
            f"unencrypted key ({_why(error)}); issue them again"
        ) from None
    try:
        context.load_verify_locations(tls.ca_file)
    except OSError as error:
        raise StartupError(f"tls.ca_file: {tls.ca_file} holds no PEM certificate ({_why(error)})") from None


def _why(error: OSError | UnicodeError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error.strerror if isinstance(error, OSError) else error)
