"""The TCP connections of this process, also those that gRPC accepted: it tells nobody of them, and bounds neither their
number nor who may open how many. Linux only: `/proc/self/fd` and TCP_INFO.
"""

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

SPARE_DESCRIPTORS: Final = 8  # held back, so that one can look and close when no descriptor is left
_FOLDER: Final = "/proc/self/fd"
_LAST_DATA_RECV: Final = struct.Struct("52xI")  # tcpi_last_data_recv of struct tcp_info, ms


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """An accepted connection: its descriptor, the port it came to, its peer, and since when it is silent."""

    descriptor: int
    port: int
    peer: tuple[str, int]
    idle_s: float


class Descriptors:
    """Looks at the descriptors of this process, and closes connections, even if all descriptors are in use."""

    def __init__(self) -> None:
        self._spare: list[int] = []
        self._hold_back()

    def close(self) -> None:
        """Gives the spare ones back."""
        while self._spare:
            os.close(self._spare.pop())

    def numbers(self) -> list[int]:
        """All that are open. The look itself needs one, which is closed again."""
        return self._with_spares(lambda: [int(entry.name) for entry in Path(_FOLDER).iterdir()])

    def connections(self, numbers: list[int], ports: frozenset[int]) -> list[OpenSocket]:
        """Those of `numbers` that were accepted on one of `ports`."""
        return self._with_spares(lambda: [found for number in numbers if (found := _look(number, ports)) is not None])

    def cut(self, connection: OpenSocket) -> bool:
        """Ends it in both directions, which gRPC sees as the end of the peer. False if it has ended already."""
        return self._with_spares(lambda: _shut_down(connection))

    def _with_spares(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self.close()
            return act()
        finally:
            self._hold_back()

    def _hold_back(self) -> None:
        with contextlib.suppress(OSError):  # as many as there are
            while len(self._spare) < SPARE_DESCRIPTORS:
                self._spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


@contextlib.contextmanager
def _held(number: int) -> Iterator[socket.socket | None]:
    """A second descriptor of the same socket, so that it stays the same while we look, whatever others close."""
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            yield None
            return
        own = os.dup(number)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        yield None  # it has been closed meanwhile
        return
    with socket.socket(fileno=own) as held:
        yield held


def _look(number: int, ports: frozenset[int]) -> OpenSocket | None:
    with _held(number) as held:
        if held is None or held.family not in (socket.AF_INET, socket.AF_INET6) or held.type != socket.SOCK_STREAM:
            return None
        try:
            port = held.getsockname()[1]
            if port not in ports:
                return None
            peer = _peer_of(held)
            info = held.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECV.size)
        except OSError:  # it listens, or its peer has gone
            return None
        return OpenSocket(number, port, peer, _LAST_DATA_RECV.unpack(info)[0] / 1000)


def _peer_of(held: socket.socket) -> tuple[str, int]:
    """GRPC listens for IPv4 on sockets of IPv6, whose peers have mapped addresses (RFC 4291, 2.5.5.2)."""
    host, port = held.getpeername()[:2]
    return host.removeprefix("::ffff:"), port


def _shut_down(connection: OpenSocket) -> bool:
    with _held(connection.descriptor) as held:
        if held is None:
            return False
        try:
            if held.getsockname()[1] != connection.port or _peer_of(held) != connection.peer:
                return False
            held.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
        return True
