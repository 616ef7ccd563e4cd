"""A causal read shows everything that its session has seen before: by writing, by reading, or by hearing of others.

Who has seen what is kept here, by the answers alone; tokens are for the sessions.
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records, WriteKey, write_name
from chaos.simulation.promises.violation import broken
from replicator.model.values import KeyValue

NOBODYS: Final[WriteKey] = (b"nobody", 0)


class CausalReads(Promise):
    """Sessions tell it what reads have shown."""

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

    def seeks(self, owed_index: int, dice: random.Random) -> WriteKey:
        """A write that a read which is owed so much must show; one that nobody has made, if there is none."""
        known = bisect_right(self._indexes, owed_index)
        return self._writes[dice.randrange(known)] if known else NOBODYS

    def covers(self, node: SimNode, index: int, owed_index: int) -> None:
        """A read was answered with the state as of `index`."""
        self.answers += 1
        if index < owed_index:
            raise broken(node, f"served a causal read at {index} to a session that has seen {owed_index}")

    def shows(self, node: SimNode, sought: WriteKey, found: KeyValue | None, index: int) -> None:
        """A read that sought a write which it owes has found that."""
        if sought != NOBODYS and found is None:
            raise broken(node, f"served a causal read at {index} without write {sought[1]}, which its session has seen")

    def lists(self, node: SimNode, client: bytes, keys: Sequence[bytes], owed_index: int) -> None:
        """A scan that was owed so much has listed these keys, all of one client, in pages."""
        if any(later <= earlier for earlier, later in pairwise(keys)):
            raise broken(node, "served pages of a scan that are not in order of keys")
        known = bisect_right(self._indexes, owed_index)
        owed = {write_name(*key) for key in self._writes[:known] if key[0] == client}
        if not owed.issubset(keys):
            missing = min(owed.difference(keys))
            raise broken(node, f"served a causal read, a scan, without {missing.decode()}, which its session has seen")
