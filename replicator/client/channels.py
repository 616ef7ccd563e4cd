"""Connections to nodes, opened when first needed.

A call is sent only on a connection that is up. So a failure to connect is known to have left everything untouched, and
only what happens after sending is uncertain.
"""

import asyncio
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio

from replicator.client.tls import ClientTls
from replicator.model.deadline import Deadline
from replicator.model.errors import Unavailable
from replicator.v1 import cluster_pb2_grpc, kv_pb2_grpc

if TYPE_CHECKING:
    from replicator.v1.cluster_pb2_grpc import ClusterServiceAsyncStub
    from replicator.v1.kv_pb2_grpc import KVServiceAsyncStub

CONNECT_TIMEOUT_S: Final = 2.0
MESSAGE_BYTES_MAX: Final = 4 << 20  # as much as a node takes; a page of a scan stays below it

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_TIMEOUT_S * 1000)),  # bounds one attempt to connect, name aside
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_retries", 0),  # we retry, and know what may have happened
    ("grpc.use_local_subchannel_pool", 1),  # clients share no connections, hence no failures
)


class Connection:
    """One endpoint."""

    def __init__(self, address: str, tls: ClientTls | None) -> None:
        self.address = address
        self._channel = _open_channel(address, tls)
        self.kv: KVServiceAsyncStub = kv_pb2_grpc.KVServiceStub(self._channel)
        self.cluster: ClusterServiceAsyncStub = cluster_pb2_grpc.ClusterServiceStub(self._channel)
        self._dialling: asyncio.Task[bool] | None = None

    async def ready(self, timeout_s: float) -> None:
        """Returns once the connection is up. Raises Unavailable: nothing was sent."""
        if self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
            return
        if self._dialling is None or self._dialling.done():
            self._dialling = asyncio.create_task(self._dial(), name=f"replicator-dial-{self.address}")
        dialling = self._dialling
        await asyncio.wait({dialling}, timeout=timeout_s)  # neither ends it for the others nor raises what it raised
        if not (dialling.done() and not dialling.cancelled() and dialling.result()):
            raise Unavailable(f"cannot connect to {self.address}; is the node up?", metadata={"endpoint": self.address})

    async def close(self) -> None:
        """Ends calls in flight."""
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.gather(self._dialling, return_exceptions=True)
        await self._channel.close()

    async def _dial(self) -> bool:
        """True once up, False if refused, or not up within CONNECT_TIMEOUT_S. One at a time, however many wait."""
        deadline = Deadline.after(CONNECT_TIMEOUT_S)
        while True:
            state = self._channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY:
                return True
            if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                return False
            try:
                async with asyncio.timeout(deadline.left_s()):
                    await self._channel.wait_for_state_change(state)
            except TimeoutError:
                return False


class Channels:
    """One connection an address; there are as many as the directory has endpoints."""

    def __init__(self, tls: ClientTls | None) -> None:
        self._tls = tls
        self._connections: dict[str, Connection] = {}

    def to(self, address: str) -> Connection:
        connection = self._connections.get(address)
        if connection is None:
            connection = self._connections[address] = Connection(address, self._tls)
        return connection

    def has(self, address: str) -> bool:
        return address in self._connections

    async def drop(self, address: str) -> None:
        """Closes the connection, if there is one."""
        connection = self._connections.pop(address, None)
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        connections, self._connections = self._connections, {}
        await asyncio.gather(*(connection.close() for connection in connections.values()))


def _open_channel(address: str, tls: ClientTls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    options = _OPTIONS
    if tls.server_name is not None:
        named = ("grpc.ssl_target_name_override", tls.server_name)
        return grpc.aio.secure_channel(address, tls.credentials(), options=(*options, named))
    return grpc.aio.secure_channel(address, tls.credentials(), options=options)
