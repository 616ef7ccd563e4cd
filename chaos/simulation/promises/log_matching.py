"""Two logs that hold an entry of one index and term are equal up to there (Raft 2014, 5.3)."""

import hashlib

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records
from chaos.simulation.promises.violation import broken
from replicator.engine.events import Turn


class LogMatching(Promise):
    """By induction: equal payloads and equal previous terms, wherever an entry of that index and term is written."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._seen: dict[tuple[int, int], tuple[bytes, int | None]] = {}  # (index, term) -> digest, term before it

    def stored(self, node: SimNode, turn: Turn) -> None:
        for entry in turn.write.append:
            digest = hashlib.blake2b(entry.payload, digest_size=16).digest()
            written = digest, node.disk.term_at(entry.index - 1)
            if self._seen.setdefault((entry.index, entry.term), written) != written:
                raise broken(node, f"wrote another entry {entry.index} of term {entry.term} than was written elsewhere")
