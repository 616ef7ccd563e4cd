"""Who leads: transfers leadership to a named node or region, or to any voter that has caught up."""

import random

from replicator.model.clock import Clock
from replicator.model.ids import NodeId, Region
from replicator.service.change_retry import in_turn
from replicator.service.ports import GroupPort
from replicator.service.validate import check_name, refuse


class LeadershipService:
    """Works on any node."""

    def __init__(self, group: GroupPort, dice: random.Random, clock: Clock) -> None:
        self._group = group
        self._dice, self._clock = dice, clock

    async def transfer(self, node_id: str, region: str, *, timeout_s: float) -> NodeId:
        """Transfers leadership without a gap; returns the new leader. Empty node_id and region: to any caught-up voter.

        A repeated request changes nothing. Raises InvalidArgument (an unknown node or region, or one without a vote),
        Unavailable (the target did not take over in time: the old leader continues), and as a change of members.
        """
        if node_id and region:
            raise refuse("region", "is given beside node_id; name a node or a region, not both")
        if node_id:
            check_name("node_id", node_id)
        if region:
            check_name("region", region)
        target = NodeId(node_id) if node_id else None
        place = Region(region) if region else None
        return await in_turn(
            lambda left_s: self._group.transfer_leadership(target, place, timeout_s=left_s),
            timeout_s,
            dice=self._dice,
            clock=self._clock,
        )
