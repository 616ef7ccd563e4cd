"""No two nodes apply different entries at one index, and no position moves back (Raft 5.4.3).

A restart takes commit and applied index back to what the disk says, the term never.
"""

from zlib import crc32

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records, Standing
from chaos.simulation.promises.violation import broken
from replicator.engine.events import Turn
from replicator.model.ids import NodeId


class StateMachineSafety(Promise):
    """Looks at what each turn applies."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._applied: dict[int, tuple[int, int, int]] = {}  # index -> term, size and checksum
        self._positions: dict[NodeId, tuple[int, int, int]] = {}  # node -> term, commit index, applied index

    def replaced(self, node: SimNode) -> None:
        self._positions.pop(node.node_id, None)

    def started(self, node: SimNode) -> None:
        held = node.disk.position
        term, _, _ = self._positions.get(node.node_id, (0, 0, 0))
        self._positions[node.node_id] = term, node.disk.state.commit_index, held.applied_index if held else 0

    def applied(self, node: SimNode, turn: Turn) -> None:
        for entry in turn.write.apply:
            mark = entry.term, len(entry.payload), crc32(entry.payload)
            if self._applied.setdefault(entry.index, mark) != mark:
                raise broken(node, f"applied another entry at {entry.index} than was applied elsewhere")

    def turned(self, node: SimNode, standing: Standing) -> None:
        before, position = self._positions.get(node.node_id, (0, 0, 0)), standing[1:4]
        if any(new < old for new, old in zip(position, before, strict=True)):
            raise broken(node, f"went back from {before} to {position} (term, commit, applied)")
        self._positions[node.node_id] = position
