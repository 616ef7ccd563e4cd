"""Serves the admin port on the node's own event loop: one loop a process, or gRPC and HTTP would fight over it."""

import asyncio
import contextlib
import functools
import os
import socket
import ssl
from collections.abc import Generator
from typing import Final

import uvicorn
from starlette.applications import Starlette

from replicator.console.bounded_http import AdminPlaces, BoundedHttp
from replicator.model.errors import StartupError

IDLE_TIMEOUT_S: Final = 5
STOP_TIMEOUT_S: Final = 1
_ACCEPT_BACKLOG: Final = 64


class _QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: signals belong to the node."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class Console:
    """The admin port of one node. `start` binds, `stop` ends within about `STOP_TIMEOUT_S`."""

    def __init__(self, app: Starlette, tls: ssl.SSLContext | None = None) -> None:
        """tls: may be loaded with another certificate while it is in use; None for plaintext."""
        self._server = _QuietServer(
            uvicorn.Config(
                app,
                http=functools.partial(BoundedHttp, AdminPlaces()),  # type: ignore[arg-type]  # made as a class is
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=IDLE_TIMEOUT_S,
                timeout_graceful_shutdown=STOP_TIMEOUT_S,
                backlog=_ACCEPT_BACKLOG,
                ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            )
        )
        self._serving: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    def start(self, address: str) -> str:
        """Binds HOST:PORT and serves from the next turn of the loop on; returns the address bound (port 0: which one).

        Raises StartupError if the address cannot be bound. Call within the running loop, once.
        """
        assert self._serving is None, "a console starts once"
        self._socket = _bind(address)
        host, port = self._socket.getsockname()[:2]
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="console")
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def stop(self) -> None:
        """Ends open requests within the bound, then closes the port. Idempotent; fine if never started."""
        if self._serving is None:
            return
        self._server.should_exit = True
        await self._serving
        self._serving = None
        if self._socket is not None:
            self._socket.close()


def _bind(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family, *_, resolved = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        return socket.create_server(resolved[:2], family=family, backlog=_ACCEPT_BACKLOG)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        raise StartupError(
            f"listen.admin: cannot bind {address}: {why}; stop what uses the port, or set another address"
        ) from None
