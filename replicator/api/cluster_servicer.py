"""ClusterService: what a node knows of itself."""

# ruff: noqa: N802, ARG002  # names and arguments are those of the generated servicer

from replicator.api.context import Context
from replicator.api.convert import status_response
from replicator.api.interceptors.deadline import call_timeout_s
from replicator.service.status import StatusService
from replicator.v1 import cluster_pb2, cluster_pb2_grpc


class ClusterServicer(cluster_pb2_grpc.ClusterServiceServicer):
    """Answers without a leader, too: that is when it is needed most."""

    def __init__(self, status: StatusService) -> None:
        self._status = status

    async def Status(self, request: cluster_pb2.StatusRequest, context: Context) -> cluster_pb2.StatusResponse:
        status = await self._status.status(state_hash=request.state_hash, timeout_s=call_timeout_s())
        return status_response(status)
