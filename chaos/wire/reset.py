"""The sudden end of a connection: RST to both sides, and what was on its way is gone with it."""

import asyncio
import socket
import struct
from typing import Final

_LINGER_NOT: Final = struct.pack("ii", 1, 0)  # on, for 0 s: close sends RST and discards what is unsent


def reset(transport: asyncio.Transport | None) -> None:
    """Ends a connection so that its peer gets ECONNRESET. Harmless on one that has ended."""
    if transport is None or transport.is_closing():
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
