"""A leader commits what a majority has on disk, by an entry of its own term (Raft 2014, 5.4.2 and figure 8)."""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records, Standing
from chaos.simulation.promises.violation import broken
from replicator.model.ids import NodeId


class CommitRule(Promise):
    """Looks at each step of a leader's commit index."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._last: dict[NodeId, Standing] = {}  # of leaders, at the end of their last turn

    def replaced(self, node: SimNode) -> None:
        self._last.pop(node.node_id, None)

    def turned(self, node: SimNode, standing: Standing) -> None:
        if not standing.is_leader:
            return
        before, self._last[node.node_id] = self._last.get(node.node_id), standing
        term, index = standing.term, standing.commit_index
        if before is None or before.term != term or before.commit_index == index:
            return
        entry_term = node.disk.term_at(index)
        if entry_term != term:
            raise broken(node, f"leads term {term} and committed {index} of {entry_term} by counting")
        holders = self.records.holders(index, term)
        if not self.records.is_majority(holders, before.applied_index):
            raise broken(node, f"committed {index}, which only {sorted(holders)} have on disk")
