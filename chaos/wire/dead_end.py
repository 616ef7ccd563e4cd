"""An address that is ours and refuses everybody.

For what a node has to advertise but nobody may use: clients in a region have to take that region's own lines, and a
shortcut around them would make every distance and every cut a lie.
"""

import socket
from typing import Self

from chaos.wire.link import LOOPBACK


class DeadEnd:
    """A bound port on which nobody listens. A context manager; leaving it gives the port back."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind((LOOPBACK, 0))
        self.address = f"{LOOPBACK}:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
