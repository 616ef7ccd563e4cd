"""Memberships that follow each other differ by one voter at most, and who leads is a voter (Ongaro 2014, 4.1)."""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records, Standing
from chaos.simulation.promises.violation import broken
from replicator.engine.events import Turn


class OneVoterAtATime(Promise):
    """Looks at memberships as they are first applied, and at leaders after every turn."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._seen = 1

    def applied(self, node: SimNode, turn: Turn) -> None:  # noqa: ARG002  # `Records` has looked into it
        memberships = self.records.memberships
        for index in range(self._seen, len(memberships)):
            before, after = memberships[index - 1].voters, memberships[index].voters
            if len(before ^ after) > 1:
                raise broken(node, f"applied a change of voters from {sorted(before)} to {sorted(after)}")
        self._seen = len(memberships)

    def turned(self, node: SimNode, standing: Standing) -> None:
        if standing.is_leader and node.node_id not in self.records.voters(standing.applied_index):
            raise broken(node, f"leads term {standing.term}, and is no voter")
