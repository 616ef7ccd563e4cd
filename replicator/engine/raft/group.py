"""The membership that this node has applied, and what follows from it: who counts, and for whom it may vote.

A membership takes effect when its entry is applied, as in etcd's Raft, and not when it is appended as in Ongaro 2014,
4.1: it is then a function of the store, so restarts, snapshots and truncated tails need no care. What makes that safe:
1. two memberships that follow each other differ by one voter at most, so their majorities meet (4.1);
2. a leader proposes one only once all that was in its log when it was elected, and the change before, is applied;
3. nobody campaigns while something that it knows to be committed is not applied.
By 2, a node that holds a change in its log knows that the change before it is committed, so by 3 an elected node is at
most one change behind its log; a node that is two behind lacks a committed entry, and gets no majority of votes.
"""

import logging
from collections.abc import Collection

from replicator.core.quorum import is_majority
from replicator.engine.raft.role_log import note_membership
from replicator.machine.group_entries import decode_group_change, membership_of
from replicator.model.errors import OtherGroupsLog
from replicator.model.ids import LogIndex, NodeId, Region
from replicator.model.members import MemberRole, Membership

_LOG = logging.getLogger(__name__)


class Group:
    """One node's view. `joining`: its data directory began empty, in a group that was there before it."""

    def __init__(
        self,
        node_id: NodeId,
        directory_id: bytes,
        membership: Membership,
        *,
        joining: bool,
        leader_preference: tuple[Region, ...] = (),
    ) -> None:
        self._node_id, self._joining, self._leader_preference = node_id, joining, leader_preference
        self.directory_id = directory_id
        self.refused_by: set[NodeId] = set()
        self._coming: Membership = membership
        self._take(membership)

    def take(self, membership: Membership) -> frozenset[NodeId]:
        """A newer membership is applied. Returns those that begin anew under a name that was a member's before."""
        assert membership.index > self.membership.index, "memberships are applied in order"
        note_membership(self.membership, membership)
        before = {member.node_id: member.directory_id for member in self.membership.members}
        self._take(membership)
        return frozenset(
            member.node_id
            for member in membership.members
            if before.get(member.node_id, b"") not in (b"", member.directory_id)
        )

    def check_origin(self, payload: bytes, index: LogIndex) -> None:
        """Raises OtherGroupsLog if the entry, which is about to be applied, brings the membership of another group.

        Every membership carries on founder and secret of the one before it; what a group has got it does not lose.
        """
        change = decode_group_change(payload)
        if change is None or not change.HasField("membership"):
            return
        before, coming = self._coming, membership_of(change.membership)
        has_other_founder = before.founder and coming.founder != before.founder
        if has_other_founder or (before.secret and coming.secret != before.secret):
            raise OtherGroupsLog(index=index)
        self._coming = coming

    @property
    def is_voter(self) -> bool:
        """Whether this node counts in majorities, and may campaign.

        A node that a group rejects must not found another group with other rejected nodes. A node that lost
        its disk and joins again under its old name has forgotten its votes. It must not vote by an old membership that
        it meets in the log, so it waits for one that names its new data directory.
        """
        me = self.membership.get(self._node_id)
        if (self.refused_by and not self.membership.founder) or me is None or me.role is not MemberRole.VOTER:
            return False
        return me.directory_id == self.directory_id or not (me.directory_id or self._joining)

    def note_refusal(self, peer: NodeId, founder: bytes) -> None:
        """A member of a group rejects this node: the node was removed, or never belonged to that group.

        founder: of that group; a node that belongs to a group ignores the refusals of another one.
        """
        if self.membership.founder and self.membership.founder != founder:
            return
        if not self.refused_by and not self.membership.founder:
            _LOG.error(
                "node=%s belongs to an existing group and rejects this node: it does not vote or campaign until it is "
                "accepted. The log of that node gives the reason. If that node is gone for good, restart this one",
                peer,
            )  # fmt: skip
        self.refused_by.add(peer)

    def heard_from(self, peer: NodeId) -> None:
        """A frame of `peer` has arrived: a peer that rejects this node sends none."""
        self.refused_by.discard(peer)

    def may_vote_for(self, peer: NodeId, membership_index: LogIndex) -> bool:
        """Whether `peer` may be given a vote; membership_index: of the membership that it has applied.

        If that is newer, the peer knows better than we do who votes: we may be what it needs for a majority. If not, a
        peer that is no voter has been removed.
        """
        return membership_index > self.membership.index or (self.is_voter and peer in self.other_voters)

    def is_majority_with(self, others: Collection[NodeId]) -> bool:
        """Whether this node and those of `others` that vote are a majority of all voters."""
        counted = self.is_voter + len(self.other_voters.intersection(others))
        return is_majority(counted, len(self.membership.voters))

    def preference_rank(self, node_id: NodeId) -> int:
        """0: of the region that is preferred most for the leader. Regions that are not listed come last, all alike."""
        member, order = self.membership.get(node_id), self._leader_preference
        return order.index(member.region) if member is not None and member.region in order else len(order)

    def _take(self, membership: Membership) -> None:
        self.membership, self.refused_by = membership, set()
        self._coming = membership  # the newest that is about to be applied, or is
        self.others = tuple(member.node_id for member in membership.members if member.node_id != self._node_id)
        self.other_voters = membership.voters - {self._node_id}
        self.other_replicas = frozenset(self.others) - self.other_voters
        self.is_founded = bool(membership.founder and membership.secret)
        self.is_settled = (
            all(  # nothing is left for a leader to note or to promote; asked in each of its turns
                member.directory_id and member.role is not MemberRole.JOINING for member in membership.members
            )
            and self.is_founded
        )
