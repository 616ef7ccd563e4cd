"""grpc.health.v1: "" says that the process answers, "replicator.v1.KVService" that it has caught up with a leader."""

from typing import Final

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

KV_SERVICE_NAME: Final = "replicator.v1.KVService"
HEALTH_SERVICE_NAME: Final[str] = health.SERVICE_NAME


class Health:
    """The composition root decides when the node serves; here it is only said."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()

    async def register(self, server: grpc.aio.Server) -> None:
        """To be called before the server starts: the node is then known as not serving yet."""
        await self.set_serving(False)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_serving(self, serving: bool) -> None:
        """For KVService. Ignored once the node shuts down."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        await self._servicer.set(KV_SERVICE_NAME, status)

    async def shut_down(self) -> None:
        """Everything is NOT_SERVING from here on."""
        await self._servicer.enter_graceful_shutdown()
