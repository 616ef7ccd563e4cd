"""Loopback ports that a node can bind now, and again after a restart.

Asking the kernel for port 0 gives one of its ephemeral ports: once the node that used it is killed, any outgoing
connection may be given the same number, and the node cannot come back. So ports are drawn outside that range.

A port is free when it is drawn, and for others to draw until the node has bound it. Processes that start clusters at
the same time, such as parallel test runs, draw from ranges of their own: REPLICATOR_DEV_PORTS.
"""

import errno
import os
import random
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from replicator.model.errors import StartupError

LOOPBACK: Final = "127.0.0.1"
PORT_MIN: Final = 10_000
PORT_MAX: Final = 65_535
CANDIDATES_MIN: Final = 1000  # fewer than this outside the ephemeral range: use that range too
DRAWS_PER_PORT_MAX: Final = 200
RANGE_VARIABLE: Final = "REPLICATOR_DEV_PORTS"  # FIRST-LAST, both included: ports are drawn from these only

_EPHEMERAL_RANGE_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_RANGE_DEFAULT: Final = (32_768, 65_535)


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports, all free at this moment.

    Raises StartupError if there are not enough, or if REPLICATOR_DEV_PORTS names no range.
    """
    candidates = drawn_from()
    dice = random.SystemRandom()
    found: list[int] = []
    for _ in range(count * DRAWS_PER_PORT_MAX):
        if len(found) == count:
            break
        port = dice.choice(candidates)
        if port not in found and is_free(port):
            found.append(port)
    if len(found) < count:
        raise StartupError(f"{LOOPBACK} has no {count} free ports: stop what holds them, or run fewer nodes")
    return found


def is_free(port: int) -> bool:
    """True if `port` can be bound on loopback at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a dead node do not count
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def drawn_from() -> Sequence[int]:
    """The ports that `free_ports` draws from. Raises StartupError if REPLICATOR_DEV_PORTS names no range."""
    wanted = _wanted_range()
    low, high = _ephemeral_range()
    outside = [port for port in wanted if not low <= port <= high]
    return outside if len(outside) >= min(CANDIDATES_MIN, len(wanted)) else wanted


def _wanted_range() -> range:
    text = os.environ.get(RANGE_VARIABLE)
    if not text:
        return range(PORT_MIN, PORT_MAX + 1)
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= PORT_MAX):
        raise StartupError(f"{RANGE_VARIABLE}: must be FIRST-LAST, such as 20000-20999 (got {text!r})")
    return range(int(first), int(last) + 1)


def _ephemeral_range() -> tuple[int, int]:
    """The kernel's range; where it does not say (not Linux), the widest one in common use."""
    try:
        low, high = _EPHEMERAL_RANGE_FILE.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return _EPHEMERAL_RANGE_DEFAULT
    return int(low), int(high)
