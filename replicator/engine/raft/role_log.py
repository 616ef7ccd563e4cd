"""Log lines about a node's group: leaders, members, timers.

One line for each change, at INFO; no text is made unless the line is written, since a simulation runs through here
millions of times.
"""

import logging

from replicator.core.auto_timing import TimingMs
from replicator.engine.stock.graft import Graft
from replicator.model.ids import NodeId, Term
from replicator.model.members import Member, Membership

_LOG = logging.getLogger(__name__)


class RoleLog:
    """Tells of leadership, as one node sees it."""

    def __init__(self, node_id: NodeId, graft: Graft) -> None:
        self._node_id, self._graft = node_id, graft
        self._leader: NodeId | None = None  # told of last, with its term
        self._term = Term(0)
        self._campaigned = Term(0)

    def look(self) -> None:
        """Called in each turn, once SyncObj has ticked and it is known whether the leader is in sight."""
        leader, term = self._graft.leader_in_sight, self._graft.term
        if leader != self._leader or (leader is not None and term != self._term):
            self._tell(leader, term)
            self._leader, self._term = leader, term
        if self._campaigned != term and self._graft.role == "candidate":
            self._campaigned = term
            _LOG.info("campaigning term=%d", term)

    def _tell(self, leader: NodeId | None, term: Term) -> None:
        if self._leader == self._node_id:
            _LOG.info("stepped down term=%d", self._term)
        elif leader is None:
            _LOG.info("lost leader=%s term=%d", self._leader, self._term)
        if leader == self._node_id:
            _LOG.info("leading term=%d", term)
        elif leader is not None:
            _LOG.info("following leader=%s term=%d", leader, term)


def note_timers(before: TimingMs, after: TimingMs) -> None:
    """The group has agreed on others."""
    _LOG.info(
        "timers agreed heartbeat_ms=%d -> %d election_timeout_ms=%d..%d -> %d..%d",
        before.heartbeat_ms,
        after.heartbeat_ms,
        before.election_timeout_min_ms,
        before.election_timeout_max_ms,
        after.election_timeout_min_ms,
        after.election_timeout_max_ms,
    )


def note_membership(before: Membership, after: Membership) -> None:
    """A newer one is applied."""
    if _LOG.isEnabledFor(logging.INFO):
        _LOG.info("membership applied index=%d: %s", after.index, ", ".join(_differences(before, after)))


def _differences(before: Membership, after: Membership) -> list[str]:
    names = sorted({member.node_id for membership in (before, after) for member in membership.members})
    return [told for name in names for told in _difference(before.get(name), after.get(name))] or ["as before"]


def _difference(before: Member | None, after: Member | None) -> list[str]:
    if before is None or after is None:
        return (
            [f"+{after.node_id} {after.role.value}"] if after is not None else [f"-{before.node_id}"] if before else []
        )
    told = []
    if before.role is not after.role:
        told.append(f"{after.node_id} {before.role.value} -> {after.role.value}")
    if before.directory_id != after.directory_id:
        told.append(f"{after.node_id} with {'another' if before.directory_id else 'a known'} data directory")
    places = [(member.region, member.peer_address, member.api_address) for member in (before, after)]
    if places[0] != places[1]:
        told.append(f"{after.node_id} at " + " -> ".join(f"{region} {peer} {api}" for region, peer, api in places))
    return told
