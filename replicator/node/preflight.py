"""Checks made before anything starts, so that a node that cannot serve says so in one line and touches nothing.

gRPC does not tell "in use" from "not of this machine"; the system does. Certificates are checked as they are read.
"""

import os
import socket

from replicator.config.schema import NodeConfig
from replicator.model.errors import StartupError


def check_environment(config: NodeConfig) -> None:
    """Raises StartupError naming the field. The ports are taken for good later; a race for one is met there."""
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


def _why(error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error.strerror if isinstance(error, OSError) else error)
