"""A leader counts an entry as held by a peer only if the peer said so, in this term, on a link that was current."""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records, Standing
from chaos.simulation.promises.violation import broken
from replicator.engine.events import Frame
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2


class CountedAsHeard(Promise):
    """Compares match indexes with the answers that arrived."""

    listens = frozenset({"append_reply"})

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._acknowledged: dict[tuple[NodeId, int, NodeId], int] = {}  # (leader, term, peer) -> highest entry

    def heard(self, node: SimNode, frame: Frame, message: raft_pb2.RaftMessage) -> None:
        reply = message.append_reply
        if reply.success:
            place = node.node_id, reply.term, frame.peer
            self._acknowledged[place] = max(self._acknowledged.get(place, 0), reply.next_index - 1)

    def turned(self, node: SimNode, standing: Standing) -> None:
        assert node.replica is not None
        if not standing.is_leader:
            return
        graft = node.replica.graft
        for peer in node.replica.pump.progress:
            match, heard = graft.match_index(peer), self._acknowledged.get((node.node_id, standing.term, peer), 0)
            if match > heard:
                raise broken(node, f"counts on {peer} for {match} in term {standing.term}; it has heard of {heard}")
