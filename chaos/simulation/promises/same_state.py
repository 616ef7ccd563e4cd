"""No leader finds that a member has made another state of the same log."""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Standing
from chaos.simulation.promises.violation import broken


class SameState(Promise):
    """Asks leaders what they have compared: `engine.raft.state_check`."""

    def turned(self, node: SimNode, standing: Standing) -> None:
        assert node.replica is not None
        difference = node.replica.state_check.problem() if standing.is_leader else ""
        if difference:
            raise broken(node, f"finds another state of the same log: {difference}")
