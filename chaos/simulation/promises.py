"""What must hold while a simulated cluster runs, and after it has healed. Sees every node at once, believes none."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.simulation.node import SimNode
from chaos.simulation.raft_promises import RaftPromises
from chaos.simulation.violation import Violation
from replicator.engine.replica import Turn
from replicator.v1 import store_pb2

WriteKey = tuple[bytes, int]  # client id, sequence


@dataclass(slots=True)
class Promises:
    """State machine safety, monotonic positions, honest staleness, nothing acknowledged lost or applied twice."""

    raft: RaftPromises = field(default_factory=RaftPromises)
    applied: dict[int, bytes] = field(default_factory=dict)  # index -> digest of (term, payload)
    positions: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # node -> term, commit, applied
    acknowledged: dict[WriteKey, tuple[int, float]] = field(default_factory=dict)  # -> log index, when
    acknowledged_index_max: int = 0
    acknowledged_by_time: list[tuple[float, int]] = field(default_factory=list)
    effects: dict[WriteKey, int] = field(default_factory=dict)  # -> log index of the one application

    def after_turn(self, node: SimNode, turn: Turn) -> None:
        """Checks one durable turn of one node."""
        replica, name, now_s = node.replica, node.node_id, node.timeline.now_s
        assert replica is not None
        graft = replica.graft
        for entry in turn.write.apply:
            digest = hashlib.blake2b(entry.term.to_bytes(8, "big") + entry.payload, digest_size=16).digest()
            if self.applied.setdefault(entry.index, digest) != digest:
                raise Violation(f"{now_s:.3f}s: {name} applied another entry at index {entry.index}")
            self.raft.applied(entry.index, entry.term)
        self.raft.after_turn(node, turn.frames)
        before = self.positions.get(name, (0, 0, 0))
        position = (graft.term, graft.commit_index, replica.applied_index)
        if any(new < old for new, old in zip(position, before, strict=True)):
            raise Violation(f"{now_s:.3f}s: {name} went back from {before} to {position} (term, commit, applied)")
        self.positions[name] = position
        self._check_staleness(node)

    def applied_once(self, key: WriteKey, outcome: store_pb2.Outcome, now_s: float) -> None:
        """An outcome for a write was handed to its caller."""
        if outcome.status == store_pb2.Outcome.STATUS_APPLIED:
            if self.effects.setdefault(key, outcome.index) != outcome.index:
                raise Violation(f"{now_s:.3f}s: write {key[1]} took effect at {self.effects[key]} and {outcome.index}")
            self.acknowledged[key] = (outcome.index, now_s)
            if outcome.index > self.acknowledged_index_max:
                self.acknowledged_index_max = outcome.index
                self.acknowledged_by_time.append((now_s, outcome.index))

    def acknowledged_before(self, when_s: float) -> int:
        """Highest log index acknowledged to anyone before `when_s`."""
        low, high = 0, len(self.acknowledged_by_time)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.acknowledged_by_time[middle][0] < when_s else (low, middle)
        return self.acknowledged_by_time[low - 1][1] if low else 0

    def _check_staleness(self, node: SimNode) -> None:
        assert node.replica is not None
        staleness_s = node.replica.staleness_s()
        if staleness_s is None:
            return
        owed = self.acknowledged_before(node.timeline.now_s - staleness_s - 0.002)  # stamps are whole milliseconds
        if node.replica.applied_index < owed:
            raise Violation(
                f"{node.timeline.now_s:.3f}s: {node.node_id} claims to be {staleness_s:.3f} s stale at index "
                f"{node.replica.applied_index}, but {owed} was acknowledged before that"
            )

    def at_the_end(self, nodes: Sequence[SimNode]) -> None:
        """After the heal: all alike, nothing lost, nothing twice."""
        seen = {}
        for node in nodes:
            assert node.storage is not None
            position = node.storage.position
            seen[node.node_id] = (position.applied_index, position.rolling_hash.hex(), node.storage.state_hash()[0])
        if len(set(seen.values())) != 1:
            raise Violation(f"not converged after the heal: {seen}")
        store = nodes[0].storage
        assert store is not None
        for (client, sequence), (index, when_s) in self.acknowledged.items():
            found, _, _ = store.get(write_name(client, sequence))
            if found is None:
                raise Violation(f"write {sequence} acknowledged at {when_s:.3f}s (index {index}) is lost")
            if found.version != 1:
                raise Violation(f"write {sequence} was applied {found.version} times")


def write_name(client: bytes, sequence: int) -> bytes:
    """Each simulated write has a key of its own, so that its `version` counts its applications."""
    return b"%s/%08d" % (client.hex().encode(), sequence)
