"""After the heal: somebody leads, all nodes are alike, and nobody waits for an answer that will never come."""

from chaos.simulation.promises.records import Promise
from chaos.simulation.promises.violation import Violation, broken


class Convergence(Promise):
    """Asked once, at the end."""

    def is_reached(self) -> bool:
        """Does everybody run, stand where the others stand, on disk too, and owe no answer? Cheap: asked often.

        Nothing may be under way, either: leaders note members and propose timers by themselves, whenever it is time.
        """
        for node in self.records.nodes:
            if node.storage is not None:
                node.flush(node.storage)  # the disk follows, and here nobody waits for it to do so by itself
        marks = {
            (node.storage.position.applied_index, node.replica.applied_index, node.replica.journal.last_index)
            if node.replica is not None and node.storage is not None
            else None
            for node in self.records.nodes
        }
        return (
            self._has_leader()
            and len(marks) == 1
            and all(mark is not None and len(set(mark)) == 1 for mark in marks)
            and not any(node.replica.proposals.depth for node in self.records.nodes if node.replica is not None)
        )

    def ended(self) -> None:
        seen = {}
        for node in self.records.nodes:
            assert node.storage is not None
            position = node.storage.position
            seen[node.node_id] = (position.applied_index, position.rolling_hash.hex(), node.storage.state_hash()[0])
        if len(set(seen.values())) != 1:
            raise Violation(f"not converged after the heal: {seen}")
        for node in self.records.nodes:
            if node.replica is not None and node.replica.proposals.depth:
                raise broken(node, f"holds {node.replica.proposals.depth} proposals that nobody answers")
        if not self._has_leader():
            raise Violation("nobody leads after the heal")

    def _has_leader(self) -> bool:
        return any(node.replica.graft.is_leader for node in self.records.nodes if node.replica is not None)
