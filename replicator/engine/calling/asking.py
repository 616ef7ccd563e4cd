"""Which leader a node asks, and how it asks one question: locally if this node leads, else by message."""

from typing import NamedTuple

from replicator.engine.leading.proposals import Proposal
from replicator.engine.leading.request_kinds import AnswerT, RequestKind, RequestT, Sink
from replicator.engine.replica import Replica
from replicator.model.ids import NodeId, Term


class Leading(NamedTuple):
    """The leader to ask. A node never leads twice in one term. is_successor: it is expected to lead soon."""

    node_id: NodeId
    term: Term
    is_successor: bool


class Asked(NamedTuple):
    """A question that is under way. request_id: of one that went out by message; proposal: of a write asked here."""

    replica: Replica
    request_id: int | None = None
    proposal: Proposal | None = None

    @property
    def is_surely_untaken(self) -> bool:
        """A write that still waits in a queue of this node."""
        return self.proposal is not None and not self.proposal.admitted

    def withdraw(self) -> None:
        """No caller waits for the answer any more. A write that is still queued here will not be proposed."""
        if self.request_id is not None:
            self.replica.forwards.forget(self.request_id)
        if self.proposal is not None:
            self.proposal.cancelled = True  # has no effect once it is in the log


def whom_to_ask(replica: Replica) -> Leading | None:
    """The leader that is heard and can be reached; or who is about to lead: it can say no, and it may lead by then.

    Nobody as long as this node has not applied who founded its group: it could not say whose answer it passes on. The
    leader itself takes questions before that, and answers them after.
    """
    graft, successor = replica.graft, replica.transfers.successor
    if not (graft.is_leader or replica.group.membership.founder):
        return None
    leader = graft.leader_in_sight or successor
    if leader is None:
        return None
    is_reached = graft.is_leader if _is_here(replica, leader) else replica.link_epoch(leader) is not None
    return Leading(leader, graft.term, leader == successor) if is_reached else None


def ask(
    replica: Replica,
    leading: Leading,
    kind: RequestKind[RequestT, AnswerT],
    request: RequestT,
    sink: Sink[AnswerT],
) -> Asked:
    """Asks locally if this node leads, else by message. Raises Overloaded, InvalidArgument, what `serve` raises."""
    if _is_here(replica, leading.node_id):
        return Asked(replica, proposal=kind.serve(replica.leader_side, request, sink))
    return Asked(replica, request_id=replica.forwards.ask(leading.node_id, kind, request, sink))


def _is_here(replica: Replica, leader: NodeId) -> bool:
    return leader == replica.settings.node_id
