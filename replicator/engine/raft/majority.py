"""Is a majority of the voters connected, and if not, who is missing, and since when?

Exists because "no leader" has two causes with two remedies: an election ends by itself, a majority that is lost does
not. Says it for callers' errors, the node's status and its log. Knows links as of the last turn, which says nothing of
a process that hangs; a dead link is noticed after some seconds.
"""

import logging
from typing import Final

from replicator.core.quorum import majority
from replicator.engine.raft.group import Group
from replicator.engine.stock.graft import Graft
from replicator.model.clock import Clock
from replicator.model.ids import NodeId

_LOG = logging.getLogger(__name__)

PATIENCE_ELECTIONS: Final = 10  # a majority that is away for as many greatest election timeouts is worth a line


class Majority:
    """One node's view. Outlives a replica; `bind` gives it the present one's group and engine."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._linked: set[NodeId] = set()
        self._gone_s: dict[NodeId, float] = {}  # members whose link fell, and when; not there: never linked
        self._missing_since_s: float | None = None
        self._is_told = False

    def bind(self, group: Group, graft: Graft) -> None:
        """Whose majority it is."""
        self._group, self._graft = group, graft

    def link_up(self, peer: NodeId) -> None:
        """It is connected."""
        self._linked.add(peer)
        self._gone_s.pop(peer, None)

    def link_down(self, peer: NodeId) -> None:
        """It is not any more."""
        self._linked.discard(peer)
        if peer in self._group.others:
            self._gone_s[peer] = self._clock.monotonic_s()

    def look(self, election_timeout_s: float) -> None:
        """Called in each turn, once it is known whether the leader is in sight. Tells of a majority that stays away."""
        now_s = self._clock.monotonic_s()
        if not self._is_missing():
            if self._is_told and self._missing_since_s is not None:
                _LOG.warning("a majority is connected again after %.0f s", now_s - self._missing_since_s)
            self._missing_since_s, self._is_told = None, False
            return
        if self._missing_since_s is None:
            self._missing_since_s = now_s
        if not self._is_told and now_s - self._missing_since_s > PATIENCE_ELECTIONS * election_timeout_s:
            self._is_told = True
            _LOG.error("no majority: %s; if they have new addresses see docs/operating.md, move a node", self.problem())

    def problem(self) -> str:
        """Who is missing, since when, and what to do; empty if a majority is connected, or a leader is heard."""
        if not self._is_missing():
            return ""
        voters = self._group.membership.voters
        missing = sorted(self._group.other_voters - self._linked)
        return (
            f"{len(missing)} of {len(voters)} voters are not connected ({', '.join(map(self._since, missing))}); a "
            f"majority needs {majority(len(voters))}; if they are lost for good see docs/operating.md, a majority is "
            "lost for good"
        )

    def _is_missing(self) -> bool:
        """Not of a node that belongs to no group, or whose group refuses it: it is told another reason."""
        group, graft = self._group, self._graft
        if not group.membership.voters or group.refused_by or (graft.leader_in_sight and not graft.is_leader):
            return False
        return not group.is_majority_with(self._linked)

    def _since(self, peer: NodeId) -> str:
        now_s, gone_s = self._clock.monotonic_s(), self._gone_s.get(peer)
        if gone_s is None:
            return f"{peer} since this node started, {now_s - self._began_s:.0f} s ago"
        return f"{peer} for {now_s - gone_s:.0f} s"
