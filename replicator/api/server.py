"""The gRPC server of a node: binds, serves, drains, stops."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import grpc.aio
from grpc_reflection.v1alpha import reflection

from replicator.api.health import HEALTH_SERVICE_NAME, Health
from replicator.api.interceptors.deadline import DeadlineInterceptor
from replicator.api.interceptors.decode import DecodeInterceptor
from replicator.api.interceptors.delivery import DeliveryInterceptor
from replicator.api.interceptors.errors import ErrorsInterceptor
from replicator.api.interceptors.first_calls import FirstCalls
from replicator.api.interceptors.intake import IntakeInterceptor
from replicator.api.interceptors.limits import LimitsInterceptor
from replicator.api.interceptors.trace import TraceInterceptor
from replicator.api.interceptors.unary import UnaryInterceptor, chained
from replicator.api.native.batch_stream import BatchStreams
from replicator.api.native.cluster_servicer import ClusterServicer
from replicator.api.native.kv_servicer import KVServicer
from replicator.api.native.watch_streams import WatchStreams
from replicator.api.new_clients import NewClients
from replicator.api.unread import Cut, UnreadAnswers
from replicator.certificates import NodeCertificates
from replicator.certificates.grpc_credentials import server_credentials
from replicator.config.schema import NodeConfig
from replicator.model.errors import StartupError
from replicator.model.limits import MESSAGE_BYTES_MAX
from replicator.model.observe import Observer
from replicator.service.compact import CompactService
from replicator.service.feed.watch import WatchService
from replicator.service.leadership import LeadershipService
from replicator.service.members import MemberService
from replicator.service.read import ReadService
from replicator.service.scan import ScanService
from replicator.service.status import StatusService
from replicator.service.transact import TransactService
from replicator.service.write import WriteService
from replicator.v1 import cluster_pb2, cluster_pb2_grpc, kv_pb2, kv_pb2_grpc

ANSWER_BYTES_MAX: Final = 4 << 20  # above every answer: a page of a scan, and one pair more
# Calls of one connection at a time. Far above what a client has in flight: gRPC's own client opens some calls beyond a
# limit that it has just reached, and a node refuses these without a reason (948 of 10,000 gets with a limit of 256).
STREAMS_MAX: Final = 8192
HANDSHAKE_S_MAX: Final = 5.0  # for TLS and the set-up of HTTP/2
IDLE_S_MAX: Final = 300.0  # a connection without a call is closed in order; a client's library opens another one
# Calls that no handler has begun. gRPC's own bound, 1,000 to 3,000 over all connections, ends what is beyond it by a
# bare CANCELLED, which says neither why nor whether anything happened. Ours is only against floods of connections.
CALLS_PENDING_MAX: Final = 16_384
# Long streams (health watches) would otherwise use up the whole grace; our own calls have ended by then.
STREAMS_GRACE_S: Final = 0.2

_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # or a second process on the port would start, and share its calls
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", ANSWER_BYTES_MAX),
    ("grpc.max_concurrent_streams", STREAMS_MAX),
    ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_S_MAX * 1000)),
    ("grpc.max_connection_idle_ms", int(IDLE_S_MAX * 1000)),
    ("grpc.server.max_pending_requests", CALLS_PENDING_MAX),
    ("grpc.server.max_pending_requests_hard_limit", CALLS_PENDING_MAX),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Any byte counts for keepalive; this ends a connection that trickles bytes and never answers a ping.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """listen: HOST:PORT; port 0 picks a free one. tls: followed while it changes; None for plaintext.

    new_clients_per_s_max: from one address.
    require_client_certificate: with TLS, turns away callers that show none of the authority.
    """

    listen: str
    calls_in_flight_max: int
    unread_bytes_max: int
    new_clients_per_s_max: int
    tls: NodeCertificates | None = None
    require_client_certificate: bool = True

    @classmethod
    def from_config(cls, config: NodeConfig, tls: NodeCertificates | None) -> "ApiSettings":
        required = config.tls is None or config.tls.require_client_certificate
        limits = config.limits
        return cls(
            config.api_listen,
            limits.calls_in_flight_max,
            limits.unread_mib_max << 20,
            limits.new_clients_per_address_per_s_max,
            tls,
            required,
        )


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases that the API offers."""

    write: WriteService
    transact: TransactService
    read: ReadService
    scan: ScanService
    status: StatusService
    members: MemberService
    leadership: LeadershipService
    watch: WatchService
    compact: CompactService


class ApiServer:
    """One per node. start() once, stop() once; stop() without start() is fine."""

    def __init__(self, settings: ApiSettings, services: Services, observer: Observer, cut: Cut) -> None:
        """cut: ends a connection whose client does not take its answers."""
        self._settings = settings
        self._services = services
        self._observer = observer
        self._limits = LimitsInterceptor(settings.calls_in_flight_max)
        self._unread = UnreadAnswers(settings.unread_bytes_max, cut)
        self._first_calls = FirstCalls(observer)
        self._sweeping: list[asyncio.Task[None]] = []
        self._health = Health()
        self._streams: BatchStreams | None = None
        self._watches: WatchStreams | None = None
        self._server: grpc.aio.Server | None = None
        self._bound_port = 0

    @property
    def bound_port(self) -> int:
        """0 before start()."""
        return self._bound_port

    @property
    def health(self) -> Health:
        return self._health

    async def start(self, *, interceptors_inside: tuple[UnaryInterceptor, ...] = ()) -> None:
        """Binds and serves. Raises StartupError, one line naming the field to change.

        interceptors_inside: more of them, next to the servicers.
        """
        has_handshakes = self._settings.tls is not None
        outside = (
            TraceInterceptor(self._observer),
            ErrorsInterceptor(),
            self._limits,
            DeadlineInterceptor(),
            DeliveryInterceptor(self._unread),
        )
        intake = IntakeInterceptor(self._observer, self._first_calls.called if has_handshakes else None)
        server = grpc.aio.server(
            interceptors=(intake, *outside, DecodeInterceptor(), *interceptors_inside), options=_OPTIONS
        )
        first_calls = (self._first_calls,) if has_handshakes else ()
        await self._register(server, (*first_calls, *outside, *interceptors_inside))
        self._bound_port = self._bind(server)
        await server.start()
        self._server = server
        self._first_calls.forget()
        self._sweeping.append(asyncio.create_task(self._unread.sweep(), name="unread-answers"))
        if has_handshakes:
            self._sweeping.append(asyncio.create_task(self._look_at_handshakes(), name="first-calls"))

    def drain(self) -> None:
        """New calls are refused with ShuttingDown; those in flight go on. A stream ends once its batches have."""
        self._limits.drain()
        if self._streams is not None:
            self._streams.drain()
        if self._watches is not None:
            self._watches.drain()

    async def stop(self, grace_s: float) -> None:
        """Drains, waits up to grace_s for the calls in flight, then ends whatever is left."""
        server, self._server = self._server, None
        if server is None:
            return
        deadline_s = time.monotonic() + grace_s
        self.drain()
        await self._health.shut_down()
        with suppress(TimeoutError):  # what has not ended by then is cancelled below
            async with asyncio.timeout(grace_s):
                await self._limits.wait_idle()
                if self._streams is not None:
                    await self._streams.wait_ended()
                if self._watches is not None:
                    await self._watches.wait_ended()
        for sweeping in self._sweeping:
            sweeping.cancel()
        await asyncio.gather(*self._sweeping, return_exceptions=True)
        await server.stop(min(STREAMS_GRACE_S, max(0.0, deadline_s - time.monotonic())))

    async def _look_at_handshakes(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._first_calls.look()

    async def _register(self, server: grpc.aio.Server, around_batches: tuple[UnaryInterceptor, ...]) -> None:
        services = self._services
        self._watches = WatchStreams(services.watch, self._unread, services.status.identity, self._observer)
        kv = KVServicer(
            services.write,
            services.transact,
            services.read,
            services.scan,
            services.status.identity,
            around=lambda method, handler: chained(around_batches, method, handler),
            observer=self._observer,
            watches=self._watches,
            compact=services.compact,
            new_clients=NewClients(self._settings.new_clients_per_s_max, self._observer),
        )
        self._streams = kv.streams
        kv_pb2_grpc.add_KVServiceServicer_to_server(kv, server)
        cluster_pb2_grpc.add_ClusterServiceServicer_to_server(
            ClusterServicer(services.status, services.members, services.leadership), server
        )
        await self._health.register(server)
        names = [pb.DESCRIPTOR.services_by_name[name].full_name for pb, name in _OWN_SERVICES]
        reflection.enable_server_reflection([*names, HEALTH_SERVICE_NAME, reflection.SERVICE_NAME], server)

    def _bind(self, server: grpc.aio.Server) -> int:
        listen, tls = self._settings.listen, self._settings.tls
        try:
            if tls is None:
                port = server.add_insecure_port(listen)
            else:
                required = self._settings.require_client_certificate
                credentials = server_credentials(
                    lambda: tls.current.api, require_client=required, on_handshake=self._first_calls.began
                )
                port = server.add_secure_port(listen, credentials)
        except RuntimeError:
            port = 0
        if port == 0:
            raise StartupError(
                f"listen.api: cannot bind {listen}: the port is in use or the address is not of this machine; "
                "stop the other process, or configure another address"
            )
        return port


_OWN_SERVICES: Final = ((kv_pb2, "KVService"), (cluster_pb2, "ClusterService"))
