"""Real gRPC servers on loopback over a replicated log in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from replicator.api import ApiServer, ApiSettings, Services
from replicator.api.interceptors.unary import Handler, UnaryInterceptor
from replicator.certificates import NodeCertificates
from replicator.dev import free_ports
from replicator.model.observe import SilentObserver
from replicator.service.compact import CompactService
from replicator.service.feed.watch import WatchLimits
from replicator.service.transact import TransactService
from tests.support.memory_cluster import CLOCK, MemoryCluster, MemoryNode

UNREAD_BYTES_MAX = 256 << 20
NEW_CLIENTS_PER_S_MAX = 500


def free_address() -> str:
    """A loopback address that was free a moment ago; needed where members must know addresses before they bind."""
    return f"127.0.0.1:{free_ports(1)[0]}"


class Disturbance(UnaryInterceptor):
    """Sits next to the servicer and does what a test says, before or after the real handler."""

    def __init__(self, arrived: asyncio.Event) -> None:
        super().__init__()
        self.arrived = arrived  # set by the first call that is no Status, on whichever node
        self.before: Callable[[str, Any, Any], Awaitable[None]] | None = None
        self.after: Callable[[str, Any, Any], Awaitable[None]] | None = None
        self.requests: list[tuple[str, Any]] = []

    async def around(self, method: str, call: Handler, request: Any, context: Any) -> Any:
        name = method.rpartition("/")[2]
        if name != "Status":
            self.requests.append((name, request))
            self.arrived.set()
        if self.before is not None:
            await self.before(name, request, context)
        answer = await call(request, context)
        if self.after is not None:
            await self.after(name, request, context)
        return answer

    def lose_replies(self, count: int, method: str) -> None:
        """The next `count` calls are served, and their callers hear of a broken connection instead."""
        left = count

        async def lose(name: str, request: Any, context: Any) -> None:
            nonlocal left
            if name == method and left > 0:
                left -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")

        self.after = lose


@dataclass
class ApiNode:
    """One node that serves."""

    node: MemoryNode
    address: str
    server: ApiServer
    disturbance: Disturbance


def services_of(node: MemoryNode, watch_limits: WatchLimits | None = None) -> Services:
    """All use cases, over that node."""
    return Services(
        write=node.writes(),
        transact=TransactService(node, CLOCK),
        read=node.reads(),
        scan=node.scans(),
        status=node.statuses(),
        members=node.members(),
        leadership=node.leadership(),
        watch=node.watches(watch_limits),
        compact=CompactService(node, CLOCK),
    )


def an_api_server(
    node: MemoryNode,
    *,
    listen: str = "127.0.0.1:0",
    calls_in_flight_max: int = 1024,
    tls: NodeCertificates | None = None,
    watch_limits: WatchLimits | None = None,
) -> ApiServer:
    services = services_of(node, watch_limits)
    settings = ApiSettings(listen, calls_in_flight_max, UNREAD_BYTES_MAX, NEW_CLIENTS_PER_S_MAX, tls)
    return ApiServer(settings, services, SilentObserver(), no_cut)


def no_cut(peer: str, cause: str) -> None:
    """Who cuts connections is the node, which is not here."""
    raise AssertionError(f"{peer} takes its answers: {cause}")


@asynccontextmanager
async def serving(cluster: MemoryCluster, *, calls_in_flight_max: int = 1024) -> AsyncIterator[list[ApiNode]]:
    """All nodes of the cluster, each on its own port and known to the others by it."""
    addresses = {node.node_id: free_address() for node in cluster.nodes}
    cluster.advertise(addresses)
    nodes, arrived = [], asyncio.Event()
    for node in cluster.nodes:
        listen = addresses[node.node_id]
        server = an_api_server(node, listen=listen, calls_in_flight_max=calls_in_flight_max)
        disturbance = Disturbance(arrived)
        await server.start(interceptors_inside=(disturbance,))
        nodes.append(ApiNode(node, listen, server, disturbance))
    try:
        yield nodes
    finally:
        await asyncio.gather(*(api.server.stop(0.0) for api in nodes))
