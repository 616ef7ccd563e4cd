"""A causal read shows everything that its session has seen before: by writing, by reading, or by hearing of others.

Who has seen what is kept here, by the answers alone; tokens are for the sessions.
"""

import random
from bisect import bisect_right

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records, WriteKey, write_name
from chaos.simulation.promises.violation import broken


class CausalReads(Promise):
    """Performs the reads, so that it sees what a caller would see."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self.answers = 0
        self._seen: dict[bytes, int] = {}  # session -> highest index that an answer to it covered
        self._indexes: list[int] = []  # of acknowledged writes, ascending
        self._writes: list[WriteKey] = []

    def acknowledged(self, key: WriteKey, index: int) -> None:
        """A caller was told that its write is at `index`."""
        place = bisect_right(self._indexes, index)
        self._indexes.insert(place, index)
        self._writes.insert(place, key)

    def saw(self, session: bytes, index: int) -> None:
        """An answer to this session covers the log up to `index`."""
        self._seen[session] = max(self.owed(session), index)

    def heard_from(self, session: bytes, other: bytes) -> None:
        """From now on it knows what the other knows."""
        self.saw(session, self.owed(other))

    def owed(self, session: bytes) -> int:
        """What a read that it begins now must cover."""
        return self._seen.get(session, 0)

    def reads(self, node: SimNode, owed_index: int, dice: random.Random) -> int:
        """A read that was owed so much is answered now. The index that the answer covers."""
        assert node.storage is not None
        self.answers += 1
        known = bisect_right(self._indexes, owed_index)
        key = self._writes[dice.randrange(known)] if known else (b"", 0)
        found, _, index = node.storage.get(write_name(*key))
        if index < owed_index:
            raise broken(node, f"served a causal read at {index} to a session that has seen {owed_index}")
        if known and found is None:
            raise broken(node, f"served a causal read at {index} without write {key[1]}, which its session has seen")
        return index
