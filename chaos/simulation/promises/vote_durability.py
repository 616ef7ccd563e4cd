"""A node gives one vote a term, restarts included, and tells of it only once it is on disk (Raft 2014, figure 2)."""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records
from chaos.simulation.promises.violation import broken
from replicator.engine.events import Outgoing
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2


class VoteDurability(Promise):
    """Looks at votes as they leave: those for others, and the one that a candidate gives itself."""

    watches = frozenset({"vote_reply", "request_vote"})

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._votes: dict[tuple[NodeId, int], NodeId] = {}

    def said(self, node: SimNode, frame: Outgoing, message: raft_pb2.RaftMessage) -> None:
        match message.WhichOneof("body"):
            case "vote_reply":
                self._vote(node, message.vote_reply.term, frame.peer)
            case "request_vote":
                self._vote(node, message.request_vote.term, node.node_id)

    def _vote(self, node: SimNode, term: int, candidate: NodeId) -> None:
        if self._votes.setdefault((node.node_id, term), candidate) != candidate:
            raise broken(node, f"voted for {self._votes[node.node_id, term]} and {candidate} in term {term}")
        state = node.disk.state
        if state.term < term or (state.term == term and state.voted_for != candidate):
            raise broken(node, f"tells of a vote for {candidate} in term {term}, but its disk says {state}")
