"""No write is proposed once the time that its caller gave is over: nobody would hear of it.

A node counts that time from the moment in which it hears of the write, so it is exact by the node's own clock.
"""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records, WriteKey
from chaos.simulation.promises.violation import broken
from replicator.engine.events import Frame, Turn
from replicator.machine.codec import decode_batch, decode_entry
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2

ROUNDING_S = 1e-6


class ProposedInTime(Promise):
    """Remembers until when each node may propose what it was asked for; the latest counts, of several attempts."""

    listens = frozenset({"forward"})

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._until_s: dict[NodeId, dict[WriteKey, float]] = {}

    def started(self, node: SimNode) -> None:
        self._until_s[node.node_id] = {}

    def heard(self, node: SimNode, frame: Frame, message: raft_pb2.RaftMessage) -> None:  # noqa: ARG002
        forward = message.forward
        if forward.timeout_ms:
            for key in _writes_of(forward.command):
                self.asked(node, key, forward.timeout_ms / 1000)

    def asked(self, node: SimNode, key: WriteKey, timeout_s: float) -> None:
        """A caller asks for that at `node`, or another node does for one."""
        known = self._until_s.setdefault(node.node_id, {})
        known[key] = max(known.get(key, 0.0), _now_s(node) + timeout_s)

    def decided(self, node: SimNode, turn: Turn) -> None:
        known, now_s = self._until_s[node.node_id], _now_s(node)
        for entry in turn.write.append:
            if not self._is_own(node, entry.term):
                continue
            decoded = decode_entry(entry.payload)
            for command in decoded.batches if decoded is not None else ():
                for key in _writes_of(command):
                    late_s = now_s - known.get(key, now_s)
                    if late_s > ROUNDING_S:
                        raise broken(
                            node, f"proposes write {key[1]} as entry {entry.index}, {late_s:.3f} s after its deadline"
                        )

    def _is_own(self, node: SimNode, term: int) -> bool:
        """What others have proposed is only stored here."""
        replica = node.replica
        return replica is not None and replica.graft.is_leader and replica.graft.term == term


def _now_s(node: SimNode) -> float:
    assert node.clock is not None, "it runs"
    return node.clock.monotonic_s()


def _writes_of(command: bytes) -> list[WriteKey]:
    batch = decode_batch(command)
    if batch is None:
        return []
    return [(batch.client_id, batch.first_sequence + place) for place in range(len(batch.keys))]
