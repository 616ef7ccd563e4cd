"""A read index covers whatever was acknowledged before the read began, by a leader that had not been replaced by then.

The second and third checks see a bug before it has an effect: a majority that elected another leader cannot confirm
this one (Ongaro 2014, 6.4), and a leader knows what its predecessors committed.
"""

from typing import NamedTuple

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records
from chaos.simulation.promises.violation import broken


class Question(NamedTuple):
    """What a read that begins now is owed. leads_in: the term in which the node that was asked leads, None if not."""

    owed_index: int
    newest_term: int
    leads_in: int | None


class LinearizableReads(Promise):
    """Clients say when reads begin and how they end."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self.answers = 0

    def begins(self, node: SimNode, acknowledged_index_max: int) -> Question:
        """A read is asked of `node` now."""
        assert node.replica is not None
        newest_term = max(self.records.leaders, default=0)
        graft = node.replica.graft
        return Question(acknowledged_index_max, newest_term, graft.term if graft.is_leader else None)

    def ends(self, node: SimNode, question: Question, index: int) -> None:
        """It was answered with `index`."""
        self.answers += 1
        if index < question.owed_index:
            raise broken(node, f"read up to {index}, but {question.owed_index} was acknowledged before it began")
        if node.replica is None or not node.replica.graft.is_leader:
            return
        term = node.replica.graft.term
        if term != question.leads_in:
            return  # another leader may have been asked meanwhile
        if term < question.newest_term:
            raise broken(node, f"confirmed a read in term {term}, after term {question.newest_term} had a leader")
        committed = self.records.commit_max_at_election.get(term, 0)
        if index < committed:
            raise broken(node, f"confirmed a read at {index}; {committed} was committed before it was elected")
