"""What is acknowledged was applied, once, where the answer says, and is never lost."""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records, WriteKey, write_name
from chaos.simulation.promises.violation import Violation, broken
from replicator.engine.events import Turn
from replicator.machine.codec import decode_batch, decode_entry


class ExactlyOnce(Promise):
    """Clients tell it what they were answered; it looks at what the log says of it."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self.acknowledged: dict[WriteKey, tuple[int, float]] = {}  # -> log index, when
        self._writes: dict[int, frozenset[WriteKey]] = {}  # index -> what its entry asks for

    def applied(self, node: SimNode, turn: Turn) -> None:  # noqa: ARG002  # any node may apply it first
        for entry in turn.write.apply:
            if entry.index not in self._writes:
                decoded = decode_entry(entry.payload)
                batches = [decode_batch(data) for data in decoded.batches] if decoded is not None else []
                self._writes[entry.index] = frozenset(
                    (batch.client_id, batch.first_sequence + place)
                    for batch in batches
                    if batch is not None
                    for place in range(len(batch.keys))
                )

    def answered(self, node: SimNode, key: WriteKey, index: int) -> None:
        """A caller was told that its write was applied, as entry `index`."""
        if key not in self._writes.get(index, ()):
            raise broken(node, f"told that write {key[1]} was applied at {index}, where it is not")
        known, _ = self.acknowledged.setdefault(key, (index, node.timeline.now_s))
        if known != index:
            raise broken(node, f"told that write {key[1]} took effect at {index}; it did at {known}")

    def ended(self) -> None:
        store = self.records.nodes[0].storage
        assert store is not None
        for (client, sequence), (index, when_s) in self.acknowledged.items():
            found, _, _ = store.get(write_name(client, sequence))
            if found is None:
                raise Violation(f"write {sequence} acknowledged at {when_s:.3f}s (index {index}) is lost")
            if found.version != 1:
                raise Violation(f"write {sequence} was applied {found.version} times")
