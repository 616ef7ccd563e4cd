"""A leader commits what a majority has on disk, by an entry of its own term (Raft 2014, 5.4.2 and figure 8)."""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records
from chaos.simulation.promises.violation import broken
from replicator.model.ids import NodeId


class CommitRule(Promise):
    """Looks at each step of a leader's commit index."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._last: dict[NodeId, tuple[int, int]] = {}  # leader -> term and commit index at its last turn

    def turned(self, node: SimNode) -> None:
        assert node.replica is not None
        graft = node.replica.graft
        if not graft.is_leader:
            return
        term, commit_index = self._last.get(node.node_id, (0, 0))
        self._last[node.node_id] = graft.term, graft.commit_index
        if term != graft.term or commit_index == graft.commit_index:
            return
        entry_term = node.disk.term_at(graft.commit_index)
        if entry_term != graft.term:
            raise broken(
                node, f"leads term {graft.term} and committed {graft.commit_index} of {entry_term} by counting"
            )
        holders = [other.node_id for other in self.records.nodes if other.disk.holds(graft.commit_index, graft.term)]
        if not self.records.is_majority(len(holders)):
            raise broken(node, f"committed {graft.commit_index}, which only {holders} have on disk")
