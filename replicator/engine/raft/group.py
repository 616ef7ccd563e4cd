"""The membership that this node has applied, and what follows from it: who counts, and for whom it may vote.

A membership takes effect when its entry is applied, as in etcd's Raft, and not when it is appended as in Ongaro 2014,
4.1: it is then a function of the store, so restarts, snapshots and truncated tails need no care. What makes that safe:
1. two memberships that follow each other differ by one voter at most, so their majorities meet (4.1);
2. a leader proposes one only once all that was in its log when it was elected, and the change before, is applied;
3. nobody campaigns while something that it knows to be committed is not applied.
By 2, whoever holds a change in its log knows the one before it to be committed, so by 3 a node that is elected is at
most one change behind anything in its log; and whoever is two behind lacks a committed entry, which costs it the votes.
"""

import logging
from collections.abc import Collection

from replicator.core.quorum import is_majority
from replicator.engine.raft.role_log import note_membership
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
        self.kept_out_by: set[NodeId] = set()
        self._take(membership)

    def take(self, membership: Membership) -> frozenset[NodeId]:
        """A newer membership is applied. Returns those that begin anew under a name that was a member's before."""
        assert membership.index > self.membership.index, "memberships are applied in order"
        founder = self.membership.founder
        assert not founder or membership.founder in (founder, b""), "the log of another group: see docs/operating.md"
        note_membership(self.membership, membership)
        before = {member.node_id: member.directory_id for member in self.membership.members}
        self._take(membership)
        return frozenset(
            member.node_id
            for member in membership.members
            if before.get(member.node_id, b"") not in (b"", member.directory_id)
        )

    @property
    def is_voter(self) -> bool:
        """Whether this node counts in majorities, and may campaign.

        A node that a group keeps out must not found another one with those that are kept out like it. A node that lost
        its disk and joins again under its old name has forgotten its votes. It must not vote by an old membership that
        it meets in the log, so it waits for one that names its new data directory.
        """
        me = self.membership.get(self._node_id)
        if (self.kept_out_by and not self.membership.founder) or me is None or me.role is not MemberRole.VOTER:
            return False
        return me.directory_id == self.directory_id or not (me.directory_id or self._joining)

    def kept_out(self, peer: NodeId, founder: bytes) -> None:
        """A member of a group does not let this node in: it was removed, or never belonged to it.

        founder: of that group; another one's refusal means nothing to who belongs to a group.
        """
        if self.membership.founder and self.membership.founder != founder:
            return
        if not self.kept_out_by and not self.membership.founder:
            _LOG.error(
                "there is a group already, which node=%s belongs to, and it does not let this node in: the node takes "
                "part in no election until it does; see what that node says when it refuses. If that node is gone for "
                "good, restart this one", peer,
            )  # fmt: skip
        self.kept_out_by.add(peer)

    def let_in(self, peer: NodeId) -> None:
        """A frame of `peer` has arrived: whoever refuses us sends none."""
        self.kept_out_by.discard(peer)

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
        self.membership, self.kept_out_by = membership, set()
        self.others = tuple(member.node_id for member in membership.members if member.node_id != self._node_id)
        self.other_voters = membership.voters - {self._node_id}
        self.is_founded = bool(membership.founder and membership.secret)
        self.is_settled = (
            all(  # nothing is left for a leader to note or to promote; asked in each of its turns
                member.directory_id and member.role is not MemberRole.JOINING for member in membership.members
            )
            and self.is_founded
        )
