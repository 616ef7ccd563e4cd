"""At most one leader a term, chosen by the votes of a majority (Ongaro & Ousterhout 2014, 5.2)."""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records
from chaos.simulation.promises.violation import broken
from replicator.engine.replica import Outgoing
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2


class ElectionSafety(Promise):
    """Notes new leaders for all promises."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._voters: dict[tuple[int, NodeId], set[NodeId]] = {}  # (term, candidate) -> who has told of a vote for it

    def said(self, node: SimNode, frame: Outgoing, message: raft_pb2.RaftMessage) -> None:
        if message.WhichOneof("body") == "vote_reply":
            self._voters.setdefault((message.vote_reply.term, frame.peer), set()).add(node.node_id)

    def turned(self, node: SimNode) -> None:
        assert node.replica is not None
        graft, records = node.replica.graft, self.records
        if not graft.is_leader:
            return
        if graft.term in records.leaders:
            if records.leaders[graft.term] != node.node_id:
                raise broken(node, f"leads term {graft.term}, and so does {records.leaders[graft.term]}")
            return
        voters = self._voters.get((graft.term, node.node_id), set()) | {node.node_id}
        if not records.is_majority(len(voters)):
            raise broken(node, f"leads term {graft.term} by the votes of {sorted(voters)}")
        records.leaders[graft.term] = node.node_id
        records.commit_max_at_election[graft.term] = records.committed_before(graft.term)
