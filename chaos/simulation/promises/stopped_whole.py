"""A node that stops in order leaves all that it has applied in its data file: the next reader finds it there."""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise
from chaos.simulation.promises.violation import broken


class StoppedWhole(Promise):
    """Looks at the disk between the end of an engine and that of its process."""

    def stopped(self, node: SimNode) -> None:
        assert node.storage is not None
        stored, applied = node.storage.position.applied_index, node.storage.applied_position.applied_index
        if stored != applied and not node.has_no_room:
            raise broken(node, f"has stopped with {stored} in its data file, and has applied {applied}")
