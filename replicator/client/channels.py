"""Connections to nodes, opened when first needed.

A call is sent only on a connection that is up. So a failure to connect is known to have left everything untouched, and
only what happens after sending is uncertain.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio

from replicator.certificates.grpc_credentials import channel_credentials
from replicator.certificates.identity import Identity
from replicator.certificates.kept import LOOK_EVERY_S, KeptFiles
from replicator.client.batch_exchange import Exchange
from replicator.client.no_connection import PROXY_VARIABLE, SILENT, why_no_connection
from replicator.client.tls import ClientTls
from replicator.model.deadline import Deadline
from replicator.model.errors import Unavailable
from replicator.model.limits import CALL_TIMEOUT_S_MAX, MESSAGE_BYTES_MAX
from replicator.v1 import cluster_pb2_grpc, kv_pb2_grpc

if TYPE_CHECKING:
    from replicator.v1.cluster_pb2_grpc import ClusterServiceAsyncStub
    from replicator.v1.kv_pb2_grpc import KVServiceAsyncStub

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 2.0
_WORD_S_MIN: Final = 0.2  # for gRPC to say why; it does so at once
ANSWER_BYTES_MAX: Final = 4 << 20  # a page of a scan stays below it

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_TIMEOUT_S * 1000)),  # bounds one attempt to connect, name aside
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_retries", 0),  # we retry, and know what may have happened
    ("grpc.use_local_subchannel_pool", 1),  # clients share no connections, hence no failures
    ("grpc.enable_http_proxy", int(PROXY_VARIABLE in os.environ)),
)


class Connection:
    """One endpoint. `kv`, `cluster`, `writes` and `reads` change with new certificates: read them for each call."""

    def __init__(self, address: str, tls: ClientTls | None, identity: Callable[[], Identity | None]) -> None:
        """identity: what the files of `tls` hold, as of the newest look; None without TLS."""
        self.address = address
        self._tls = tls
        self._newest = identity
        self._dialling: asyncio.Task[str | None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._earlier: list[Exchange] = []  # of connections that were replaced, until their batches have ended
        self._use(self._newest())

    @property
    def is_outdated(self) -> bool:
        """True if there are newer certificates than those that this connection was opened with."""
        return self._identity is not self._newest()

    async def ready(self, timeout_s: float) -> None:
        """Returns once the connection is up. Raises Unavailable: nothing was sent."""
        if self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
            return
        if self._dialling is None or self._dialling.done():
            self._dialling = asyncio.create_task(self._dial(), name=f"replicator-dial-{self.address}")
        dialling = self._dialling
        await asyncio.wait({dialling}, timeout=timeout_s)  # neither ends it for the others nor raises what it raised
        why = dialling.result() if dialling.done() and not dialling.cancelled() else SILENT
        if why is not None:
            raise Unavailable(f"cannot connect to {self.address}: {why}", metadata={"endpoint": self.address})

    async def renew(self) -> None:
        """New calls go over a connection with the newest certificates, as soon as one is up; those in flight go on.

        One that does not come up changes nothing: the earlier connection may still be good for a long time.
        """
        identity = self._newest()
        if self._channel.get_state() is not grpc.ChannelConnectivity.READY:
            return  # the next call that needs it dials, and then with the newest
        channel = _open_channel(self.address, self._tls, identity)
        spare = channel
        try:
            if await _until_up(channel, CONNECT_TIMEOUT_S) and not self._is_closed:
                spare = self._channel
                self._retire_exchanges()
                self._use(identity, channel)
        finally:
            self._retire(spare)

    async def close(self) -> None:
        """Ends calls in flight."""
        self._is_closed = True
        ending = [*self._retiring, *([self._dialling] if self._dialling is not None else [])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await asyncio.gather(*(exchange.close() for exchange in (self.writes, self.reads, *self._earlier)))
        await self._channel.close()

    async def _dial(self) -> str | None:
        """None once up; else why not. One at a time, however many wait."""
        if self.is_outdated:
            self._retire_exchanges()
            self._retire(self._channel)
            self._use(self._newest())
        deadline = Deadline.after(CONNECT_TIMEOUT_S)
        if await _until_up(self._channel, CONNECT_TIMEOUT_S):
            return None
        details = await _what_fails(self._channel, max(_WORD_S_MIN, deadline.left_s()))
        host = self.address.rpartition(":")[0]
        name = host if self._tls is None or self._tls.server_name is None else self._tls.server_name
        return why_no_connection(details, name, self._identity)

    def _use(self, identity: Identity | None, channel: grpc.aio.Channel | None = None) -> None:
        self._identity = identity
        self._channel = channel or _open_channel(self.address, self._tls, identity)
        kv: KVServiceAsyncStub = kv_pb2_grpc.KVServiceStub(self._channel)
        self.kv = kv
        # Apart, so that reads which wait for their moment do not hold up writes.
        self.writes = Exchange(self.address, kv.Exchange, is_write=True)
        self.reads = Exchange(self.address, kv.Exchange, is_write=False)
        self.cluster: ClusterServiceAsyncStub = cluster_pb2_grpc.ClusterServiceStub(self._channel)

    def _retire_exchanges(self) -> None:
        """Their batches go on; they end before the channel below them is closed for good."""
        self._earlier = [exchange for exchange in self._earlier if exchange.is_open]
        for exchange in (self.writes, self.reads):
            exchange.retire()
            self._earlier.append(exchange)

    def _retire(self, channel: grpc.aio.Channel) -> None:
        """Closes it once the calls in flight have ended; no call lives longer than CALL_TIMEOUT_S_MAX."""
        task = asyncio.create_task(_close_gently(channel), name=f"replicator-retire-{self.address}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


class Channels:
    """One connection an address; there are as many as the directory has endpoints."""

    def __init__(self, tls: ClientTls | None) -> None:
        self._tls = tls
        self._files: KeptFiles[Identity] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._connections: dict[str, Connection] = {}

    def to(self, address: str) -> Connection:
        """Raises InvalidArgument, the first time, if the certificates are of no use."""
        connection = self._connections.get(address)
        if connection is None:
            connection = self._connections[address] = self.apart(address)
        return connection

    def apart(self, address: str) -> Connection:
        """One more, which belongs to the caller. Raises as `to`."""
        if self._tls is not None and self._files is None:
            self._files = self._tls.kept()
            self._watching = asyncio.create_task(self._watch(self._files), name="replicator-certificates")
        return Connection(address, self._tls, self._identity)

    def has(self, address: str) -> bool:
        return address in self._connections

    async def drop(self, address: str) -> None:
        """Closes the connection, if there is one."""
        connection = self._connections.pop(address, None)
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        connections, self._connections = self._connections, {}
        await asyncio.gather(*(connection.close() for connection in connections.values()))

    def _identity(self) -> Identity | None:
        return None if self._files is None else self._files.current

    async def _watch(self, files: KeptFiles[Identity]) -> None:
        """Every few seconds, one stat a file; a connection that could not be renewed is tried again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if files.look():
                _log.info("new certificate files are in force for new connections")
            outdated = [connection for connection in self._connections.values() if connection.is_outdated]
            await asyncio.gather(*(connection.renew() for connection in outdated))


async def _until_up(channel: grpc.aio.Channel, timeout_s: float) -> bool:
    """True once up, False if refused, or not up in time."""
    deadline = Deadline.after(timeout_s)
    while True:
        state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return True
        if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
            return False
        try:
            async with asyncio.timeout(deadline.left_s()):
                await channel.wait_for_state_change(state)
        except TimeoutError:
            return False


async def _what_fails(channel: grpc.aio.Channel, timeout_s: float) -> str:
    """What gRPC says of a connection that did not come about: it tells only calls. Should one come up now, no harm."""
    check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
    try:
        await check(b"", timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        return error.details() or ""
    return ""


async def _close_gently(channel: grpc.aio.Channel) -> None:
    try:
        await channel.close(CALL_TIMEOUT_S_MAX)
    finally:
        await channel.close()


def _open_channel(address: str, tls: ClientTls | None, identity: Identity | None) -> grpc.aio.Channel:
    if tls is None or identity is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    options = _OPTIONS
    if tls.server_name is not None:
        named = ("grpc.ssl_target_name_override", tls.server_name)
        return grpc.aio.secure_channel(address, channel_credentials(identity), options=(*options, named))
    return grpc.aio.secure_channel(address, channel_credentials(identity), options=options)
