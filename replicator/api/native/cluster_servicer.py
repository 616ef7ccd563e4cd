"""ClusterService: what a node knows of itself, who belongs to the group, who leads it."""

# ruff: noqa: N802, ARG002  # names and arguments are those of the generated servicer

from replicator.api.context import Context
from replicator.api.interceptors.deadline import call_timeout_s
from replicator.api.native.convert import membership_response, status_response, wanted_member
from replicator.service.leadership import LeadershipService
from replicator.service.members import MemberService
from replicator.service.status import StatusService
from replicator.service.validate import check_request_bytes
from replicator.v1 import cluster_pb2, cluster_pb2_grpc


class ClusterServicer(cluster_pb2_grpc.ClusterServiceServicer):
    """Status is answered without a leader, too: that is when it is needed most."""

    def __init__(self, status: StatusService, members: MemberService, leadership: LeadershipService) -> None:
        self._status = status
        self._members = members
        self._leadership = leadership

    async def Status(self, request: cluster_pb2.StatusRequest, context: Context) -> cluster_pb2.StatusResponse:
        check_request_bytes(request.ByteSize())
        status = await self._status.status(state_hash=request.state_hash, timeout_s=call_timeout_s())
        return status_response(status)

    async def SetMember(
        self, request: cluster_pb2.SetMemberRequest, context: Context
    ) -> cluster_pb2.MembershipResponse:
        check_request_bytes(request.ByteSize())
        result = await self._members.set_member(wanted_member(request), timeout_s=call_timeout_s())
        return membership_response(result)

    async def RemoveMember(
        self, request: cluster_pb2.RemoveMemberRequest, context: Context
    ) -> cluster_pb2.MembershipResponse:
        check_request_bytes(request.ByteSize())
        result = await self._members.remove_member(request.node_id, timeout_s=call_timeout_s())
        return membership_response(result)

    async def TransferLeadership(
        self, request: cluster_pb2.TransferLeadershipRequest, context: Context
    ) -> cluster_pb2.TransferLeadershipResponse:
        check_request_bytes(request.ByteSize())
        leader = await self._leadership.transfer(request.node_id, request.region, timeout_s=call_timeout_s())
        return cluster_pb2.TransferLeadershipResponse(leader_id=leader)
