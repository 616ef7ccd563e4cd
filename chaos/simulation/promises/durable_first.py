"""What a node speaks of early, and what it applies, is on its disk (Ongaro 2014, 10.2.1; docs/raft.md, "A turn").

An append may carry entries that its leader has only in memory. The term in which it speaks, and what it calls
committed, must be on the leader's disk as it leaves. What a turn applies must be there before that turn is committed. A
membership by which later turns count must be there, in the state or, committed, in the log, which is applied at start.
"""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Standing
from chaos.simulation.promises.violation import broken
from replicator.engine.events import Outgoing, Turn
from replicator.v1 import raft_pb2


class DurableFirst(Promise):
    """Looks at appends as they leave, and at what turns decide."""

    watches = frozenset({"append_entries"})

    def said(self, node: SimNode, frame: Outgoing, message: raft_pb2.RaftMessage) -> None:  # noqa: ARG002
        append, disk = message.append_entries, node.disk
        if append.term > disk.state.term:
            raise broken(node, f"sends an append in term {append.term}, but its disk says {disk.state}")
        if append.commit_index > disk.last_index:
            raise broken(node, f"says that {append.commit_index} is committed, and its disk ends at {disk.last_index}")

    def decided(self, node: SimNode, turn: Turn) -> None:
        for entry in turn.write.apply:
            if not node.disk.holds(entry.index, entry.term):
                raise broken(node, f"applies entry {entry.index} of term {entry.term}, which its disk does not hold")

    def turned(self, node: SimNode, standing: Standing) -> None:  # noqa: ARG002
        held = max(
            node.disk.state.commit_index, node.disk.position.applied_index if node.disk.position is not None else 0
        )
        if node.membership.index > held:
            raise broken(node, f"counts by a membership of {node.membership.index}, its disk has applied {held}")
