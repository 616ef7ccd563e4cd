"""Whom a node asks, and one question to whoever that is: here if this node leads, by message if another one does."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from replicator.engine.leading.proposals import Proposal
from replicator.engine.leading.transfer import TransferWish
from replicator.engine.replica import Replica
from replicator.model.errors import ReplicatorError
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.members import MemberChange, Membership
from replicator.v1 import store_pb2

T = TypeVar("T")
Sink = Callable[[T | ReplicatorError], None]


class Leading(NamedTuple):
    """Whom to ask. Who leads no more in a term never leads in it again; a successor is somebody who may lead soon."""

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
        """A write that waits in a queue of this node yet."""
        return self.proposal is not None and not self.proposal.admitted

    def withdraw(self) -> None:
        """Nobody waits for the answer any more. A write that is queued here yet will not be proposed."""
        if self.request_id is not None:
            self.replica.forwards.forget(self.request_id)
        if self.proposal is not None:
            self.proposal.cancelled = True  # has no effect once it is in the log


Question = Callable[[Replica, Leading, Sink[T]], Asked]


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


def propose(replica: Replica, leading: Leading, command: bytes, sink: Sink[store_pb2.Outcome]) -> Asked:
    """Asks for a command to be replicated. Raises Overloaded, InvalidArgument."""
    if _is_here(replica, leading.node_id):
        return Asked(replica, proposal=replica.proposals.offer(command, sink))
    return Asked(replica, request_id=replica.forwards.propose(leading.node_id, command, sink))


def read_index(replica: Replica, leading: Leading, sink: Sink[LogIndex]) -> Asked:
    """Asks for a linearizable point. Raises Overloaded."""
    if _is_here(replica, leading.node_id):
        replica.reads.ask(sink)
        return Asked(replica)
    return Asked(replica, request_id=replica.forwards.read_index(leading.node_id, sink))


def change_members(replica: Replica, leading: Leading, change: MemberChange, sink: Sink[Membership]) -> Asked:
    """Asks for another membership. Raises Overloaded."""
    if _is_here(replica, leading.node_id):
        replica.members.ask(change, sink)
        return Asked(replica)
    return Asked(replica, request_id=replica.forwards.change_members(leading.node_id, change, sink))


def transfer(replica: Replica, leading: Leading, wish: TransferWish, timeout_s: float, sink: Sink[NodeId]) -> Asked:
    """Asks for leadership to be handed over. Raises Overloaded, InvalidArgument, Unavailable."""
    if _is_here(replica, leading.node_id):
        replica.transfers.begin(wish, timeout_s, sink)
        return Asked(replica)
    return Asked(replica, request_id=replica.forwards.transfer(leading.node_id, wish, timeout_s, sink))


def _is_here(replica: Replica, leader: NodeId) -> bool:
    return leader == replica.settings.node_id
