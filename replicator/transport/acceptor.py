"""Accept links from the peers with greater ids: bind, check who comes, carry."""

import asyncio
import errno
import logging
import socket
from collections.abc import Collection
from typing import Any, Final

import grpc

from replicator.model.errors import StartupError
from replicator.model.ids import NodeId
from replicator.transport.handshake import (
    Refused,
    hello_to,
    judge_dialler,
    judge_identity,
    region_contradiction,
    shown,
)
from replicator.transport.options import server_options
from replicator.transport.roster import Roster
from replicator.transport.settings import TransportSettings
from replicator.transport.streams import METHOD, SERVICE, AcceptedStream, LinkLost, parse
from replicator.v1 import peer_pb2

_GRPC_LOG: Final = logging.getLogger("grpc._cython.cygrpc")

UNSHAKEN_STREAMS_MAX: Final = 32  # streams that have not said who they are, at once
FLUSH_S: Final = 0.5  # for the status of ended streams to leave before connections are cut


class Acceptor:
    """The peer port. One handler a stream."""

    def __init__(self, settings: TransportSettings, roster: Roster, credentials: grpc.ServerCredentials | None) -> None:
        self._settings = settings
        self._roster = roster
        self._credentials = credentials
        self._server = grpc.aio.server(options=server_options(settings))
        self._handlers: set[asyncio.Task[Any]] = set()
        self._unshaken = 0

    async def start(self) -> int:
        """Binds and listens; returns the port. Raises StartupError."""
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._link)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        listen = self._settings.listen
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(listen)
            else:
                port = self._server.add_secure_port(listen, self._credentials)
        except RuntimeError:
            port = 0
        if port == 0:
            raise StartupError(f"listen.peer: {listen} {why_unbindable(listen)}")
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Ends every stream and connection. Returns within FLUSH_S and a moment; leaves no handler behind."""
        await self._server.stop(FLUSH_S)
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _link(self, _requests: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        task = asyncio.current_task()
        assert task is not None, "gRPC runs a handler as a task"
        self._handlers.add(task)
        try:
            await self._serve(context)
        finally:
            self._handlers.discard(task)

    async def _serve(self, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        stream = AcceptedStream(context)
        peer = await self._welcome(stream, context)
        if peer is None:
            return
        link = self._roster.install(peer, stream)
        if link is None:
            _end(context, grpc.StatusCode.UNAVAILABLE, "this node stops")
            return
        await self._roster.carry(link)

    async def _welcome(
        self, stream: AcceptedStream, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> NodeId | None:
        """The peer behind `stream` once it has said Hello and been answered; None if it was turned away."""
        origin = context.peer().rpartition(":")[0]  # without the port, which differs with each try
        if self._unshaken >= UNSHAKEN_STREAMS_MAX:
            why = f"{UNSHAKEN_STREAMS_MAX} streams have not said Hello yet; try again"
            self._turn_away(context, origin, grpc.StatusCode.RESOURCE_EXHAUSTED, why)
            return None
        self._unshaken += 1
        try:
            async with asyncio.timeout(self._settings.timers.hello_s):
                return await self._shake_hands(stream, context, origin)
        except TimeoutError:
            why = f"no Hello within {self._settings.timers.hello_s:g} s"
            self._turn_away(context, origin, grpc.StatusCode.DEADLINE_EXCEEDED, why)
        except LinkLost as error:
            self._turn_away(context, origin, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._unshaken -= 1
        return None

    async def _shake_hands(
        self, stream: AcceptedStream, context: "grpc.aio.ServicerContext[bytes, bytes]", origin: str
    ) -> NodeId | None:
        first = await stream.read()
        if first is None:
            raise LinkLost("the stream ended before a Hello")
        message = parse(first)
        if message.WhichOneof("body") != "hello":
            raise LinkLost(f"the first message must be Hello, got {message.WhichOneof('body')}")
        hello = message.hello
        verdict = self._judge(hello, context)
        if verdict is not None:
            who = shown(hello.node_id)
            self._roster.refused(
                hello.node_id if hello.node_id in self._roster.status() else f"unknown:{who}",
                f"refusing peer={who} from={origin}: {verdict.reason}: {verdict.message}",
            )
            await stream.write(verdict.to_message().SerializeToString())
            return None
        contradiction = region_contradiction(self._settings, hello)
        if contradiction is not None:
            self._roster.notices.say(f"region:{hello.node_id}", contradiction)
        peer = NodeId(hello.node_id)
        await stream.write(hello_to(self._settings, peer).SerializeToString())
        return peer

    def _judge(self, hello: peer_pb2.Hello, context: "grpc.aio.ServicerContext[bytes, bytes]") -> Refused | None:
        verdict = judge_dialler(self._settings, hello)
        if verdict is None and self._credentials is not None:
            verdict = judge_identity(hello, certified_names(context))
        return verdict

    def _turn_away(
        self, context: "grpc.aio.ServicerContext[bytes, bytes]", origin: str, code: grpc.StatusCode, why: str
    ) -> None:
        self._roster.notices.say(f"stranger:{origin}", f"turned away a stream from={origin}: {why}")
        _end(context, code, why)


class _GoneBeforeStatus(logging.Filter):
    """gRPC logs a traceback when a peer is gone before its stream's status: a cut link, which `roster` logs anyway."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not (type(error).__name__ == "ExecuteBatchError" and SERVICE in record.getMessage())


_GRPC_LOG.addFilter(_GoneBeforeStatus())


def certified_names(context: "grpc.aio.ServicerContext[bytes, bytes]") -> Collection[str]:
    """DNS names in the client's verified certificate; empty without one."""
    return {name.decode("utf-8", "replace") for name in context.auth_context().get("peer_dns", ())}


def why_unbindable(listen: str) -> str:
    """What the operating system says to a bind of HOST:PORT, and the remedy. gRPC itself only says that it failed."""
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "is in use: stop the process that holds it, or choose another port"
        return f"cannot be bound ({error.strerror}): choose an address of this machine and a port it may use"
    return "could not be bound a moment ago: start again, or choose another port"


def _end(context: "grpc.aio.ServicerContext[bytes, bytes]", code: grpc.StatusCode, why: str) -> None:
    """Sets the status that the handler's return will send. Not `abort`: aborted handlers upset a graceful stop."""
    context.set_code(code)
    context.set_details(why)
