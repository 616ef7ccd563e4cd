"""At most one leader a term, chosen by the votes of a majority (Ongaro & Ousterhout 2014, 5.2)."""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records, Standing
from chaos.simulation.promises.violation import broken
from replicator.engine.events import Outgoing
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2


class ElectionSafety(Promise):
    """Notes new leaders for all promises."""

    watches = frozenset({"vote_reply"})

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._voters: dict[tuple[int, NodeId], set[NodeId]] = {}  # (term, candidate) -> who has told of a vote for it

    def said(self, node: SimNode, frame: Outgoing, message: raft_pb2.RaftMessage) -> None:
        self._voters.setdefault((message.vote_reply.term, frame.peer), set()).add(node.node_id)

    def turned(self, node: SimNode, standing: Standing) -> None:
        records, term = self.records, standing.term
        if not standing.is_leader:
            return
        if term in records.leaders:
            if records.leaders[term] != node.node_id:
                raise broken(node, f"leads term {term}, and so does {records.leaders[term]}")
            return
        voters = self._voters.get((term, node.node_id), set()) | {node.node_id}
        if not records.is_majority(voters, standing.applied_before):
            raise broken(node, f"leads term {term} by the votes of {sorted(voters)}")
        records.leaders[term] = node.node_id
        records.commit_max_at_election[term] = records.committed_before(term)
