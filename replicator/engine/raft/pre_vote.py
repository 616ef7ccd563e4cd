"""Pre-vote: asks whether an election could be won before it raises the term (Ongaro 2014, 9.6).

Stock pysyncobj has neither pre-vote nor leader stickiness (fault 4): a node that flaps deposes healthy leaders.
"""

import random
from dataclasses import dataclass
from typing import Final

from replicator.engine.core import ReplicaCore
from replicator.engine.raft.messages import pre_vote, pre_vote_reply
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.limits import TERM_MAX
from replicator.v1 import raft_pb2

NEVER_S: Final = float("-inf")


@dataclass(slots=True)
class _Ballot:
    term: Term
    grants: set[NodeId]
    until_s: float


class PreVotes:
    """Runs this node's pre-votes and answers those of others.

    Promise: a node that hears a leader grants nothing, and nobody campaigns without a majority of grants for exactly
    the term that it will campaign for. The one exception is a transfer, which the leader itself asked for.
    """

    def __init__(self, core: ReplicaCore, dice: random.Random) -> None:
        self._node_id, self._timers, self._group = core.settings.node_id, core.timers, core.group
        self._graft, self._journal = core.graft, core.journal
        self._clock, self._dice, self._send = core.clock, dice, core.links.send
        self._ballot: _Ballot | None = None
        self._heard_leader_s = NEVER_S

    def heard_leader(self) -> None:
        """A valid append has arrived: there is a leader, and no reason to campaign."""
        self._heard_leader_s = self._clock.monotonic_s()
        self._ballot = None

    def may_campaign(self, linked: frozenset[NodeId]) -> bool:
        """SyncObj asks once its election deadline has passed. True at most once a won ballot."""
        if not self._group.is_voter or self._graft.term >= TERM_MAX:  # no campaign leads beyond what may be kept
            return False
        if not self._group.other_voters or self._graft.transfer_in_progress:
            return True
        if not self._group.is_majority_with(linked):
            return False  # cut off from the majority: nothing could be won
        now_s, term = self._clock.monotonic_s(), Term(self._graft.term + 1)
        if self._ballot is None or self._ballot.term != term or now_s > self._ballot.until_s:
            self._open(term, now_s, linked)
        assert self._ballot is not None
        if self._group.is_majority_with(self._ballot.grants):
            self._ballot = None
            return True
        return False

    def retry_due_s(self) -> float:
        """When an undecided ballot is asked again, by the monotonic clock; now, if none is open."""
        return self._ballot.until_s if self._ballot is not None else NEVER_S

    def answer(self, peer: NodeId, asked: raft_pb2.PreVote) -> None:
        """Grants if the peer could win here: a newer term, a log at least as new, and no leader heard of lately."""
        last = self._journal.entry(self._journal.last_index)
        quiet_s = self._clock.monotonic_s() - self._heard_leader_s
        granted = (
            asked.term > self._graft.term
            and (asked.last_term, asked.last_index) >= (last.term, last.index)
            and self._group.may_vote_for(peer, LogIndex(asked.membership_index))
            and not self._graft.is_leader
            and quiet_s >= self._timers.timing.election_timeout_min_s
        )
        self._send(peer, pre_vote_reply(Term(asked.term), self._graft.term, granted=granted))

    def count(self, peer: NodeId, reply: raft_pb2.PreVoteReply) -> None:
        """Takes a grant for the ballot that is open, and for no other."""
        if reply.granted and self._ballot is not None and self._ballot.term == reply.asked_term:
            self._ballot.grants.add(peer)

    def _open(self, term: Term, now_s: float, linked: frozenset[NodeId]) -> None:
        # Several round trips of the links that the timers were chosen for; spread, so that two nodes part. Shorter than
        # an election timeout, since a first ballot is often refused by a peer that heard the leader a moment later.
        until_s = now_s + self._timers.timing.election_timeout_min_s * (0.5 + 0.5 * self._dice.random())
        self._ballot = _Ballot(term, set(), until_s)
        last = self._journal.entry(self._journal.last_index)
        for peer in sorted(linked & self._group.other_voters):
            self._send(peer, pre_vote(term, last, self._group.membership.index))
