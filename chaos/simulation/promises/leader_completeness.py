"""What is committed stays: every later leader's log holds it (Raft 2014, 5.4), and no two nodes disagree about it."""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records, Standing
from chaos.simulation.promises.violation import broken
from replicator.model.ids import NodeId


class LeaderCompleteness(Promise):
    """Notes what is committed, for all promises. Asked before `ElectionSafety` notes a new leader."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._known: dict[NodeId, int] = {}

    def replaced(self, node: SimNode) -> None:
        self._known.pop(node.node_id, None)

    def turned(self, node: SimNode, standing: Standing) -> None:
        if standing.is_leader and standing.term not in self.records.leaders:
            self._check_log(node, standing.term)
        if standing.commit_index != self._known.get(node.node_id):
            self._known[node.node_id] = standing.commit_index
            self._note(node, standing.commit_index, standing.term)

    def _check_log(self, node: SimNode, term: int) -> None:
        index = self.records.committed_before(term)
        if index < node.disk.first_index:
            return
        held, wanted = node.disk.term_at(index), self.records.committed[index]
        if held != wanted:
            raise broken(
                node, f"leads term {term} and holds {held or 'nothing'} at {index}, where term {wanted} is committed"
            )

    def _note(self, node: SimNode, commit_index: int, seen_in: int) -> None:
        term, records = node.disk.term_at(commit_index), self.records
        if term is None:
            return  # nothing yet, or a snapshot that has been compacted since
        if records.committed.setdefault(commit_index, term) != term:
            raise broken(
                node, f"committed {commit_index} of term {term}; elsewhere of {records.committed[commit_index]}"
            )
        records.commit_max[seen_in] = max(records.commit_max.get(seen_in, 0), commit_index)
