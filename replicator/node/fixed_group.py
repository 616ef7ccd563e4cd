"""The group of an engine whose members are those of its configuration: shown, never changed.

Stands in for the engine's own group until that can change its members; then this file goes.
"""

from replicator.engine.driver import RaftEngine
from replicator.model.errors import InvalidArgument, Unavailable
from replicator.model.ids import NodeId, Region
from replicator.model.members import MemberChange, Membership


class FixedGroup:
    """Satisfies service.ports.GroupPort."""

    def __init__(self, engine: RaftEngine) -> None:
        self._engine = engine

    def membership(self) -> Membership:
        """That of the configuration."""
        return self._engine.membership()

    async def change_members(self, change: MemberChange, *, timeout_s: float) -> Membership:
        """See engine."""
        return await self._engine.change_members(change, timeout_s=timeout_s)

    async def transfer_leadership(
        self, target: NodeId | None = None, region: Region | None = None, *, timeout_s: float
    ) -> NodeId:
        """Only at the leader, and to a node."""
        if region is not None:
            raise InvalidArgument("leadership can be handed to a node only, not to a region")
        if not await self._engine.transfer_leadership(target, timeout_s=timeout_s):
            raise Unavailable("nobody took over in time; the old leader goes on")
        return NodeId(self._engine.status().leader_id)
