"""Changes of the membership, at the leader: one at a time, each an entry that carries the whole new membership.

Requests of operators come first. Besides, the leader notes the data directories of members that it has heard from, and
makes voters of those that join once they have caught up (Ongaro 2014, 4.2.1). What makes changes safe is in group.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from replicator.config.timing import RaftTiming
from replicator.core.member_rules import changed, pinned
from replicator.core.quorum import is_majority
from replicator.engine.core import ReplicaCore
from replicator.engine.leading.transfer import TransferRequest, Transfers
from replicator.engine.raft.timers import timing_to_wire
from replicator.machine.group_entries import encode_membership, encode_timing
from replicator.model.errors import ChangeInProgress, InvalidArgument, NoMajority, NotLeader, ReplicatorError
from replicator.model.ids import LogIndex, NodeId
from replicator.model.members import GROUP_SECRET_BYTES, MemberChange, MemberRole, Membership, SetMember

PROMOTION_LAG_ENTRIES_MAX: Final = 64  # a joining member that trails by no more votes soon after it may
HAND_OVER_ELECTIONS: Final = 2  # how long a leader that is to go tries to hand over, in election timeouts

MembershipSink = Callable[[Membership | ReplicatorError], None]


@dataclass(slots=True)
class _Request:
    change: MemberChange
    sink: MembershipSink
    index: LogIndex | None = None  # of its entry, once it is proposed
    handing_over: bool = False


class MemberChanges:
    """Leader side. `group` is what is applied."""

    def __init__(self, core: ReplicaCore, transfers: Transfers) -> None:
        self._node_id, self._new_secret = core.settings.node_id, core.settings.new_secret
        self._group, self._graft, self._journal = core.group, core.graft, core.journal
        self._pump, self._timers, self._transfers = core.pump, core.timers, transfers
        self._directories: dict[str, bytes] = {self._node_id: core.group.directory_id}
        self._pending_index = LogIndex(0)  # the newest entry that may change the group and may not be applied
        self._request: _Request | None = None

    def ask(self, change: MemberChange, sink: MembershipSink) -> None:
        """Answers `sink` once: with the membership after the change, applied here, or with the error."""
        if not self._graft.is_leader:
            sink(NotLeader("this node is no longer the leader"))
        elif self._request is not None:
            sink(ChangeInProgress("another change of the membership is under way; try again", retry_after_s=0.2))
        else:
            self._request = _Request(change, sink)

    def linked(self, peer: NodeId, directory_id: bytes) -> None:
        """A link to `peer` is up; its data directory has this id."""
        self._directories[peer] = directory_id

    def unlinked(self, peer: NodeId) -> None:
        """The link is gone."""
        self._directories.pop(peer, None)

    def directory_of(self, peer: NodeId) -> bytes:
        """Of a peer that is linked."""
        return self._directories[peer]

    def became_leader(self) -> None:
        """Whatever an earlier leader has proposed is at most at our last entry."""
        self._pending_index = self._journal.last_index

    def lost_leadership(self) -> None:
        """The next leader may still apply the change: asking again is safe, since a request names the final state."""
        self._answer(NotLeader("leadership was lost while the membership was being changed"))

    def step(self) -> None:
        """Called in each turn at the leader, after the tick."""
        if not self._may_propose():
            return
        if self._request is not None and self._group.is_founded:
            self._grant(self._request)
        elif not self._group.is_settled and not self._transfers.under_way:  # which waits for a log that stands still
            wanted = self._with_those_that_caught_up(pinned(self._founded(), self._directories))
            if wanted != self._group.membership:
                self._propose(wanted)

    def propose_timing(self, timing: RaftTiming) -> None:
        """Timers for the group to agree on; not now, if a change of the group is under way: they are wanted again."""
        if self._may_propose():
            self._append(encode_timing(timing_to_wire(timing)))

    def applied(self, index: LogIndex) -> None:
        """The entry at `index` has changed the membership."""
        if self._request is not None and self._request.index == index:
            self._answer(self._group.membership)

    def _may_propose(self) -> bool:
        """All that was inherited, and the change before, is applied."""
        if not self._graft.is_leader or self._journal.applied_index < self._pending_index:
            return False
        return self._pump.knows_commit_index()

    def _grant(self, request: _Request) -> None:
        if request.index is not None:
            return  # applied with the change itself
        try:
            self._refuse_to_displace(request.change)
            wanted = changed(self._group.membership, request.change)
        except ReplicatorError as error:
            self._answer(error)
            return
        if wanted == self._group.membership:
            self._answer(wanted)
        elif self._node_id not in wanted.voters:
            self._hand_over(request)
        elif self._is_majority(wanted, self._pump.answering()):
            request.index = self._propose(wanted)
        elif not self._is_majority(wanted, self._pump.not_silent()):  # else the connected voters may still answer
            self._answer(
                NoMajority(
                    "after this change, the voters that are connected and answer now would be no majority, and the "
                    "group would stand still; bring more of them back first, or remove one that is down",
                    retry_after_s=1.0,
                )
            )

    def _refuse_to_displace(self, change: MemberChange) -> None:
        """A second process under the name of a member that lives is a mistake. Raises InvalidArgument."""
        if not isinstance(change, SetMember) or not change.member.directory_id:
            return
        present = self._group.membership.get(change.member.node_id)
        known = present.directory_id if present is not None else b""
        if known and change.member.directory_id != known == self._directories.get(change.member.node_id):
            raise InvalidArgument(
                f"{change.member.node_id} is connected, with the directory that the group knows: stop it first, or "
                "join under another name"
            )

    def _hand_over(self, request: _Request) -> None:
        """The leader itself is to go: its successor must grant that. The caller asks it, once told NotLeader."""
        if request.handing_over:
            return
        request.handing_over = True
        timeout_s = HAND_OVER_ELECTIONS * self._timers.timing.election_timeout_max_s
        try:
            hand_over = TransferRequest(why="removal", timeout_s=timeout_s)
            self._transfers.begin(hand_over, partial(self._handed_over, request))
        except ReplicatorError as error:
            self._answer(error)

    def _handed_over(self, request: _Request, result: NodeId | ReplicatorError) -> None:
        if request is self._request and isinstance(result, ReplicatorError):
            self._answer(result)

    def _is_majority(self, wanted: Membership, others: frozenset[NodeId]) -> bool:
        reached = wanted.voters & (others | {self._node_id})
        return is_majority(len(reached), len(wanted.voters))

    def _founded(self) -> Membership:
        """The present membership, of a group that has a founder and a secret.

        Who brings the first one of a group is its founder and draws its secret; those after it carry both on. A group
        that an older release founded gets its secret from the first leader that knows of secrets.
        """
        present = self._group.membership
        if self._group.is_founded:
            return present
        return replace(
            present,
            founder=present.founder or self._group.directory_id,
            secret=present.secret or self._new_secret(),
        )

    def _with_those_that_caught_up(self, membership: Membership) -> Membership:
        """One new voter at most, so that majorities of before and after meet."""
        for member in membership.members:
            if member.role is MemberRole.JOINING and member.directory_id and self._has_caught_up(member.node_id):
                return membership.with_role(member.node_id, MemberRole.VOTER)
        return membership

    def _has_caught_up(self, peer: NodeId) -> bool:
        progress = self._pump.progress.get(peer)
        if progress is None or progress.needs_snapshot or peer not in self._pump.answering():
            return False
        match = self._graft.match_index(peer)
        return match >= self._journal.first_index and self._journal.last_index - match <= PROMOTION_LAG_ENTRIES_MAX

    def _propose(self, membership: Membership) -> LogIndex:
        assert membership.founder, "the first membership brings the founder"
        assert len(membership.secret) == GROUP_SECRET_BYTES, "and the secret"
        assert len(membership.voters ^ self._group.membership.voters) <= 1, "majorities of before and after meet"
        return self._append(encode_membership(membership))

    def _append(self, payload: bytes) -> LogIndex:
        index = LogIndex(self._journal.last_index + 1)
        self._journal.add(payload, index, self._graft.term)
        self._pending_index = index
        self._pump.want()
        return index

    def _answer(self, result: Membership | ReplicatorError) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.sink(result)
