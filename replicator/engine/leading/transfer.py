"""Hands leadership to another voter without a gap (Ongaro 2014, 3.10).

The target is brought up to date while writes go on, and how long that takes tells how long a pause would last. Once it
is short, new writes wait in the queue until the target holds the whole log and every write in it is answered; then the
target is asked to campaign. When it wins, those who wait are told NotLeader and follow it (calls.py). If it does not,
within an election timeout, writes are admitted here again.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from replicator.engine.core import ReplicaCore
from replicator.engine.leading.proposals import Proposals
from replicator.model.errors import InvalidArgument, NotLeader, ReplicatorError, Unavailable
from replicator.model.ids import LogIndex, NodeId, Region, Term
from replicator.model.members import MemberRole

_LOG = logging.getLogger(__name__)

ROUND_TIMEOUTS_MAX: Final = 0.5  # of the least election timeout: a longer round of catching up is followed by another
RETRY_AFTER_S: Final = 0.5

TransferReason = Literal["asked", "preference", "removal", "shutdown"]
TransferSink = Callable[[NodeId | ReplicatorError], None]


@dataclass(frozen=True, slots=True)
class TransferRequest:
    """To that node, or to any voter of that region; to any other voter than the leader if neither is named.

    why: for the log of the leader. timeout_s: after which the leader gives up and leads on.
    """

    node_id: NodeId | None = None
    region: Region | None = None
    why: TransferReason = "asked"
    timeout_s: float = field(kw_only=True)


@dataclass(slots=True)
class _Transfer:
    """goal: what the log held when the present round of catching up began. target: once chosen, writes wait for it."""

    candidates: frozenset[NodeId]
    why: TransferReason
    term: Term
    until_s: float
    sinks: list[TransferSink]
    goal: LogIndex
    round_began_s: float
    target: NodeId | None = None
    is_asked: bool = False


class Transfers:
    """Leader side, at most one at a time."""

    def __init__(self, core: ReplicaCore, proposals: Proposals) -> None:
        self._settings, self._timers, self._group = core.settings, core.timers, core.group
        self._graft, self._journal, self._pump = core.graft, core.journal, core.pump
        self._proposals, self._clock = proposals, core.clock
        self._transfer: _Transfer | None = None

    def begin(self, request: TransferRequest, sink: TransferSink) -> None:
        """`sink` gets the new leader, or why this node stays leader. Joins a transfer under way to the same node.

        Raises InvalidArgument, NotLeader, or Unavailable: nothing was begun.
        """
        candidates = self._candidates(request)
        if not self._graft.is_leader:
            raise NotLeader("this node is not the leader")
        if self._settings.node_id in candidates:
            sink(self._settings.node_id)
            return
        running = self._transfer
        if running is not None and running.candidates <= candidates:
            running.sinks.append(sink)
            return
        if running is not None:
            raise _unavailable(f"leadership is already being transferred to {_names(running.candidates)}")
        if not candidates & self._pump.linked:
            raise _unavailable(f"the leader, {self._settings.node_id}, has no link to {_names(candidates)}")
        now_s = self._clock.monotonic_s()
        self._transfer = _Transfer(
            candidates,
            request.why,
            self._graft.term,
            now_s + request.timeout_s,
            [sink],
            self._journal.last_index,
            now_s,
        )

    def step(self) -> None:
        """Called in each turn, after the tick: what is committed is known, and will be answered before frames leave."""
        transfer, now_s = self._transfer, self._clock.monotonic_s()
        if transfer is None:
            return
        if not self._graft.is_leader or self._graft.term != transfer.term:
            self._look_for_successor(transfer, now_s)
        elif not self._may_lead(transfer):
            self._end(self._leads_on(f"{_names(transfer.candidates)} no longer votes"))
        elif now_s > transfer.until_s:
            late = "take over" if transfer.is_asked else "catch up"
            self._end(self._leads_on(f"{_names(transfer.candidates)} did not {late} in time"))
        else:
            if transfer.target is None:
                self._catch_up(transfer, now_s)
            if transfer.target is not None:
                self._hand_over(transfer, transfer.target)

    def is_granted_by(self, request: TransferRequest, leader: NodeId) -> bool:
        """Whether the new leader `leader` is one that the request allows."""
        member = self._group.membership.get(leader)
        region = member.region if member is not None else None
        return request.node_id in (None, leader) and request.region in (None, region)

    @property
    def under_way(self) -> bool:
        """Whether one is being tried."""
        return self._transfer is not None

    @property
    def successor(self) -> NodeId | None:
        """The node that this one asked to campaign, and that has deposed it, until it is heard as leader."""
        transfer = self._transfer
        if transfer is None or not transfer.is_asked or self._graft.is_leader or self._graft.leader is not None:
            return None
        return transfer.target

    def abandon(self, error: ReplicatorError) -> None:
        """The node stops, or begins anew."""
        if self._transfer is not None:
            self._end(error)

    # -----------------------------------------------------------------------------------------------------------------

    def _candidates(self, request: TransferRequest) -> frozenset[NodeId]:
        membership = self._group.membership
        if request.node_id is not None and request.region is not None:
            raise InvalidArgument("leadership goes to a node or to a region: name one of them, not both")
        if request.node_id is not None:
            if request.node_id not in membership.voters:
                raise InvalidArgument(
                    f"{request.node_id} is not a voter; leadership can go to {_names(membership.voters)}"
                )
            return frozenset((request.node_id,))
        if request.region is None:
            return self._group.other_voters
        voters = [member for member in membership.members if member.role is MemberRole.VOTER]
        found = frozenset(voter.node_id for voter in voters if voter.region == request.region)
        if not found:
            regions = ", ".join(sorted({voter.region for voter in voters}))
            raise InvalidArgument(f"there is no voter in region {request.region}; there are some in {regions}")
        return found

    def _may_lead(self, transfer: _Transfer) -> bool:
        """The membership may have changed since it began."""
        wanted = transfer.candidates if transfer.target is None else {transfer.target}
        return not self._group.other_voters.isdisjoint(wanted)

    def _catch_up(self, transfer: _Transfer, now_s: float) -> None:
        """A round ends when the first candidate holds what the log held at its start (Ongaro 2014, 4.2.1)."""
        candidates = transfer.candidates & self._pump.linked & self._group.other_voters
        held = [peer for peer in candidates if self._graft.match_index(peer) >= transfer.goal]
        if not held:
            return
        timing = self._timers.timing
        if now_s - transfer.round_began_s > ROUND_TIMEOUTS_MAX * timing.election_timeout_min_s:
            transfer.goal, transfer.round_began_s = self._journal.last_index, now_s
            return
        transfer.target = min(held, key=self._order)
        transfer.until_s = min(transfer.until_s, now_s + timing.election_timeout_max_s)
        self._proposals.paused = True

    def _order(self, peer: NodeId) -> tuple[int, int, NodeId]:
        """The most preferred region first, then the voter that lacks least."""
        return self._group.preference_rank(peer), -self._graft.match_index(peer), peer

    def _hand_over(self, transfer: _Transfer, target: NodeId) -> None:
        last = self._journal.last_index
        if target not in self._pump.linked:
            self._end(self._leads_on(f"the link to {target} fell"))
        elif not transfer.is_asked and self._graft.match_index(target) == last == self._graft.commit_index:
            _LOG.info("transferring leadership to %s in term %d why=%s", target, transfer.term, transfer.why)
            transfer.is_asked = True
            self._graft.transfer_to(target)

    def _look_for_successor(self, transfer: _Transfer, now_s: float) -> None:
        self._proposals.paused = False
        leader = self._graft.leader
        if leader in transfer.candidates:
            self._end(leader)
        elif leader is not None:
            self._end(_unavailable(f"{leader} has become the leader, not {_names(transfer.candidates)}"))
        elif now_s > transfer.until_s:
            self._end(_unavailable("this node no longer leads, and learned of no other leader in time"))

    def _leads_on(self, why: str) -> Unavailable:
        _LOG.info("leadership not transferred: %s", why)
        return _unavailable(f"{why}; {self._settings.node_id} stays the leader")

    def _end(self, result: NodeId | ReplicatorError) -> None:
        transfer, self._transfer = self._transfer, None
        self._proposals.paused = False
        for sink in transfer.sinks if transfer is not None else ():
            sink(result)


def _names(nodes: frozenset[NodeId]) -> str:
    return " or ".join(sorted(nodes)) or "any voter"


def _unavailable(why: str) -> Unavailable:
    return Unavailable(f"{why}; try again, or name another node", retry_after_s=RETRY_AFTER_S)
