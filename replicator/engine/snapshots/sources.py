"""Which member serves a snapshot to a member that lacks one? Asked of the leader once a period.

A neighbour, a member in the receiver's region that is well within the log, so that the bytes do not cross regions; else
the leader; else, if the receiver cannot fetch it from the leader either, any member. Invariants, for every receiver:
1. it has one source at a time, and after a moment it has one: the leader can always be chosen;
2. a source that is silent, unlinked or refuses, that makes and makes, or from which the receiver could not take what it
   offered, is replaced; it comes back only when all others have failed since. So every member that can serve is tried.
Knows: positions, links, promises, handed in as plain values. Must not know: terms, messages, files, clocks.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from replicator.model.ids import LogIndex, NodeId
from replicator.model.members import Member, MemberRole, Membership
from replicator.transport.ports import SNAPSHOT_STREAMS_MAX

_LOG = logging.getLogger(__name__)

PATIENCE_PERIODS: Final = 3  # how long a source may be silent, and how long an order to serve is good for
REMEMBERED_PERIODS: Final = 30  # how long it is known which sources failed a receiver that does not lack just now
MAKING_S_MAX: Final = 900.0  # with nothing to offer; 100 GiB at 120 MB/s


@dataclass(frozen=True, slots=True)
class Situation:
    """What the leader sees now.

    lacking: linked members that need a snapshot. match: highest index that each member has acknowledged; a missing one
    counts as 0. first_index, last_index: of the leader's log.
    """

    membership: Membership
    lacking: frozenset[NodeId]
    linked: frozenset[NodeId]
    match: Mapping[NodeId, LogIndex]
    first_index: LogIndex
    last_index: LogIndex

    def has_room(self, peer: NodeId) -> bool:
        """Whether a snapshot that `peer` makes now will connect to the log: it holds the second half of the log."""
        return 2 * self.match.get(peer, 0) >= self.first_index + self.last_index


@dataclass(slots=True)
class _Task:
    """heard_s: when the source last kept its word, offered_s: when it last offered; until then, when it was chosen."""

    source: NodeId
    chosen_s: float
    heard_s: float
    offered_s: float


class SnapshotSources:
    """One leader's choices, in one term. Bounded: receivers and sources are members."""

    def __init__(self, leader: NodeId, period_s: float) -> None:
        self._leader, self._period_s = leader, period_s
        self._tasks: dict[NodeId, _Task] = {}
        self._lacking_since_s: dict[NodeId, float] = {}
        self._failed_s: dict[tuple[NodeId, NodeId], float] = {}  # (receiver, source)

    def choose(self, seen: Situation, now_s: float) -> Mapping[NodeId, NodeId]:
        """The source of each receiver that has one now; the leader itself may be it."""
        self._forget(seen, now_s)
        for receiver in sorted(seen.lacking):
            self._lacking_since_s.setdefault(receiver, now_s)
            task = self._tasks.get(receiver)
            why = self._why_not(task, seen, now_s) if task is not None else ""
            if task is not None and why:
                self.failed(task.source, receiver, why, now_s)
            if receiver not in self._tasks:
                source = self._choice(receiver, seen, now_s)
                if source is not None:
                    self._tasks[receiver] = _Task(source, now_s, now_s, now_s)
                    _LOG.info("%s lacks compacted entries: %s sends it a snapshot", receiver, source)
        return {receiver: task.source for receiver, task in self._tasks.items()}

    def making(self, source: NodeId, receiver: NodeId, now_s: float) -> None:
        """The source is making the snapshot."""
        task = self._tasks.get(receiver)
        if task is not None and task.source == source:
            task.heard_s = now_s

    def offering(self, source: NodeId, receiver: NodeId, now_s: float) -> None:
        """The source offers what connects to the leader's log."""
        task = self._tasks.get(receiver)
        if task is not None and task.source == source:
            task.heard_s = task.offered_s = now_s

    def failed(self, source: NodeId, receiver: NodeId, why: str, now_s: float) -> None:
        """The source cannot serve the receiver, as one of both says or as the leader concludes."""
        task = self._tasks.get(receiver)
        if task is not None and task.source == source:
            _LOG.info("%s cannot send a snapshot to %s: %s", source, receiver, why)
            self._failed_s[receiver, source] = now_s
            del self._tasks[receiver]

    # -----------------------------------------------------------------------------------------------------------------

    def _forget(self, seen: Situation, now_s: float) -> None:
        """Receivers that lack nothing any more, or cannot be reached: these may be back in a moment."""
        for receiver in self._tasks.keys() - seen.lacking:
            task = self._tasks.pop(receiver)
            if task.heard_s == task.chosen_s < now_s - self._period_s and task.source != self._leader:
                self._failed_s[receiver, task.source] = now_s  # it had the time to say something
        for receiver in self._lacking_since_s.keys() - seen.lacking:
            del self._lacking_since_s[receiver]
        self._failed_s = {
            (receiver, source): failed_s
            for (receiver, source), failed_s in self._failed_s.items()
            if receiver in seen.lacking or now_s - failed_s <= REMEMBERED_PERIODS * self._period_s
        }

    def _why_not(self, task: _Task, seen: Situation, now_s: float) -> str:
        """Why the source must be replaced; empty if it may go on."""
        source = task.source
        if source == self._leader:
            return ""
        if seen.membership.get(source) is None or source not in seen.linked:
            return "there is no link to it"
        if source in seen.lacking:
            return "it lacks a snapshot itself"
        if now_s - task.heard_s > PATIENCE_PERIODS * self._period_s:
            return f"nothing of use was heard of it for {now_s - task.heard_s:.1f} s"
        if now_s - task.offered_s > MAKING_S_MAX:
            return f"it has made one for {now_s - task.offered_s:.0f} s"
        return ""

    def _choice(self, receiver: NodeId, seen: Situation, now_s: float) -> NodeId | None:
        """None: a neighbour may be able to in a moment."""
        here, there = seen.membership.get(self._leader), seen.membership.get(receiver)
        assert there is not None, f"{receiver} lacks what only members get"
        leader_is_near = here is not None and here.region == there.region
        others = sorted(self._whole(seen), key=self._burden)
        near = [member.node_id for member in others if member.region == there.region]
        fit = [name for name in near if seen.has_room(name)]
        is_early = now_s - self._lacking_since_s[receiver] <= PATIENCE_PERIODS * self._period_s
        if near and not fit and not leader_is_near and is_early:
            return None
        far = [member.node_id for member in others if member.region != there.region and seen.has_room(member.node_id)]
        ranked = [self._leader, *fit, *far] if leader_is_near else [*fit, self._leader, *far]
        fresh = [name for name in ranked if (receiver, name) not in self._failed_s]
        return fresh[0] if fresh else min(ranked, key=lambda name: self._failed_s[receiver, name])

    def _whole(self, seen: Situation) -> Iterator[Member]:
        """Members besides the leader that can be reached and lack nothing."""
        for member in seen.membership.members:
            if member.node_id in seen.linked and member.node_id not in seen.lacking:
                yield member

    def _burden(self, member: Member) -> tuple[bool, bool, bool, int, NodeId]:
        """Least: has room for another stream, serves already (one file serves all), is in no majority's way."""
        count = sum(task.source == member.node_id for task in self._tasks.values())
        is_voter = member.role is not MemberRole.OBSERVER
        return count >= SNAPSHOT_STREAMS_MAX, count == 0, is_voter, count, member.node_id
