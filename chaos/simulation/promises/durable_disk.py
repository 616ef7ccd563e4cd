"""What was made durable (term, vote, log, applied state) is there when a process starts on it: nothing less or more.

After a power failure during a commit the disk holds the state before it, or the one after it if its last step was done.
"""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise
from chaos.simulation.promises.violation import broken


class DurableDisk(Promise):
    """Looks at what a process finds."""

    def started(self, node: SimNode) -> None:
        assert node.storage is not None
        problem = node.disk.differs_from(node.storage)
        if problem:
            raise broken(node, f"finds {problem}")
