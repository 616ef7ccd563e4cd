"""What all faults know of the cluster, and how they choose whom to strike. No fault by itself."""

import random
from collections.abc import Callable, Sequence

from chaos.simulation.character import Character
from chaos.simulation.network import Network
from chaos.simulation.node import SimNode
from chaos.simulation.operators import Operator
from chaos.simulation.timeline import Timeline
from replicator.config.timing import RaftTiming
from replicator.model.ids import NodeId


class Striking:
    """Times are in units of the longest election timeout: one whose elections take longer is struck for longer."""

    def __init__(
        self,
        *,
        nodes: Sequence[SimNode],
        network: Network,
        timeline: Timeline,
        dice: random.Random,
        character: Character,
        timing: RaftTiming,
        operator: Operator | None,
    ) -> None:
        self.nodes, self.network, self.timeline = nodes, network, timeline
        self.dice, self.character, self.timing = dice, character, timing
        self.operator = operator
        self.over = False

    def _later(self, delay_s: float, action: Callable[[], object]) -> None:
        self.timeline.after(delay_s, lambda: None if self.over else action())

    def _unit_s(self) -> float:
        return self.timing.election_timeout_max_s

    def _leader(self) -> SimNode:
        """The leader of the newest term; any node, if there is none."""
        leading = [node for node in self.nodes if node.replica is not None and node.replica.graft.is_leader]
        newest = max(leading, key=lambda node: node.disk.state.term, default=None)
        return newest if newest is not None else self.dice.choice(self.nodes)

    def _someone(self) -> SimNode:
        """Any node; half of the time the leader."""
        return self._leader() if self.dice.random() < 0.5 else self.dice.choice(self.nodes)

    def _direction(self) -> tuple[NodeId, NodeId]:
        a, b = self.dice.choice(self.network.pairs)
        return (a, b) if self.dice.random() < 0.5 else (b, a)

    def _cut_off(self, side: set[NodeId]) -> None:
        for a, b in self.network.pairs:
            if (a in side) != (b in side):
                self.network.block(a, b)
