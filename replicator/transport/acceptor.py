"""Accept links: bind, check who comes, carry."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

import grpc

from replicator.model.errors import StartupError
from replicator.transport.handshake.known_peers import Introduction
from replicator.transport.handshake.verdicts import shown
from replicator.transport.links.admission_gate import AdmissionGate, end, origin
from replicator.transport.links.introductions import HandshakeRefused, Introductions, Objected
from replicator.transport.links.roster import Objection, Roster
from replicator.transport.options import server_options
from replicator.transport.ports import SnapshotSource
from replicator.transport.snapshots.snapshot_server import SnapshotServer
from replicator.transport.streams import FETCH_METHOD, METHOD, SERVICE, AcceptedStream

OBJECTION_CODE: Final[Mapping[Objection, grpc.StatusCode]] = {
    Objection.STOPPING: grpc.StatusCode.UNAVAILABLE,
    Objection.LAPSED: grpc.StatusCode.UNAVAILABLE,
    Objection.LINKED: grpc.StatusCode.ALREADY_EXISTS,
    Objection.FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Objection.FORMER: grpc.StatusCode.UNAVAILABLE,
}
assert OBJECTION_CODE.keys() == set(Objection), "every objection needs a status"

FLUSH_S: Final = 0.5  # for the status of ended streams to leave before connections are cut


class Acceptor:
    """The peer port: links and, if there is a source, snapshots. One handler a stream."""

    def __init__(
        self,
        roster: Roster,
        introductions: Introductions,
        credentials: grpc.ServerCredentials | None,
        source: SnapshotSource | None,
    ) -> None:
        settings = roster.known_peers.settings
        self._introductions = introductions
        self._listen = settings.listen
        self._roster = roster
        self._credentials = credentials
        self._server = grpc.aio.server(options=server_options(settings))
        self._handlers: set[asyncio.Task[Any]] = set()
        self._gate = AdmissionGate(roster, certificates=credentials is not None)
        self._snapshots = SnapshotServer(roster, self._gate, introductions, source) if source is not None else None

    async def start(self) -> int:
        """Binds and listens; returns the port. Raises StartupError."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            METHOD: grpc.stream_stream_rpc_method_handler(self._link)
        }
        if self._snapshots is not None:
            # On the wire one request is a stream of one; taken as a stream, the wait for it is ours to bound.
            methods[FETCH_METHOD] = grpc.stream_stream_rpc_method_handler(self._fetch)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        listen = self._listen
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

    def end_snapshots(self) -> None:
        """Ends the streams of snapshots, and takes no more."""
        if self._snapshots is not None:
            self._snapshots.close()

    async def stop(self) -> None:
        """Ends every stream and connection. Returns within FLUSH_S and a moment; leaves no handler behind."""
        await self._server.stop(FLUSH_S)
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _link(self, _requests: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        with self._as_handler():
            await self._serve(context)

    async def _fetch(self, _requests: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        assert self._snapshots is not None, "registered only with a server behind it"
        with self._as_handler():
            await self._snapshots.serve(context)

    @contextlib.contextmanager
    def _as_handler(self) -> Iterator[None]:
        """So that `stop` leaves none behind."""
        task = asyncio.current_task()
        assert task is not None, "gRPC runs a handler as a task"
        self._handlers.add(task)
        try:
            yield
        finally:
            self._handlers.discard(task)

    async def _serve(self, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        stream = AcceptedStream(context)
        said = await self._gate.welcome(stream, context, lambda: self._shake_hands(stream, context))
        if said is None:
            return
        objection = self._roster.objection_to(said, dialled=False)  # once more: much may have changed meanwhile
        if objection is not None:
            self._object(objection, said.peer, context)
            return
        await self._roster.carry(self._roster.install(said, stream))

    def _object(self, objection: Objection, peer: str, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        """Sets the status for a stream that there is no place for."""
        if objection in (Objection.FULL, Objection.FORMER):
            self._gate.say(
                f"{objection.name}:{peer}", f"turned away peer={shown(peer)} from={origin(context)}: {objection}"
            )
        end(context, OBJECTION_CODE[objection], objection.value)  # gRPC takes plain text only

    async def _shake_hands(
        self, stream: AcceptedStream, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> Introduction | None:
        try:
            return await self._introductions.accept(stream, lambda hello: self._gate.judge_certificate(hello, context))
        except HandshakeRefused as error:
            self._refused(error, context)
            return None
        except Objected as error:
            self._object(error.objection, error.peer, context)
            return None

    def _refused(self, error: HandshakeRefused, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        who = f"peer={shown(error.peer)} from={origin(context)}"
        if error.is_by_peer:
            self._roster.refused_by(error.peer, f"refused by {who}", error.refused)
        else:
            self._roster.refused(error.peer, f"refusing {who}", error.refused)


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
