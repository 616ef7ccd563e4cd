"""Fills data directories without running nodes, so that a million keys do not take a cluster's time to write.

Goes through the state machine and the storage, turn by turn, exactly as a node does when entries are committed: what it
leaves behind is what nodes would hold that had served these writes. Every directory gets the same entries.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from benchmarks.keys import key_of
from replicator.dev import ClusterPlan, NodePlan
from replicator.machine.codec import encode_entry
from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.storage import Storage
from replicator.v1 import store_pb2

PUTS_PER_ENTRY: Final = 256  # what 256 concurrent callers get into one entry at best
ENTRIES_PER_TURN: Final = 16
SIZE_MAX_BYTES: Final = 64 << 30
_TERM: Final = Term(1)


@dataclass(frozen=True, slots=True)
class Filling:
    """keys: b"%016d" of 0 to keys - 1, one put each. seed: of the values."""

    keys: int
    value_bytes: int
    seed: int


def fill(cluster: ClusterPlan, node: NodePlan, filling: Filling) -> None:
    """Fills the data directory of a node that does not run."""
    storage = Storage.open(node.data_dir, cluster_id=cluster.cluster_id, node_id=node.id, size_max_bytes=SIZE_MAX_BYTES)
    try:
        entries = _entries(filling)
        while turn := tuple(islice(entries, ENTRIES_PER_TURN)):
            storage.commit(applied_at_once(turn))
        live_keys = storage.position.live_keys
    finally:
        storage.close()
    if live_keys != filling.keys:
        raise RuntimeError(f"{node.id} holds {live_keys} keys, {filling.keys} were put")


def applied_at_once(entries: tuple[Entry, ...]) -> TurnWrite:
    """A turn that appends, commits and applies."""
    return TurnWrite(append=entries, hard_state=HardState(_TERM, None, entries[-1].index), apply=entries)


def an_entry(index: int, batches: list[bytes]) -> Entry:
    """One entry; log time goes on by a millisecond an entry."""
    return Entry(encode_entry(index, batches), LogIndex(index), _TERM)


def puts(keys: list[bytes], values: list[bytes], *, client_id: bytes = b"", first_sequence: int = 0) -> bytes:
    """A batch as the log carries it. client_id: of its session, empty for none; then nothing older is waited for."""
    return store_pb2.CommandBatch(
        client_id=client_id, first_sequence=first_sequence, oldest_pending=first_sequence, keys=keys, values=values
    ).SerializeToString()


def _entries(filling: Filling) -> Iterator[Entry]:
    dice = random.Random(filling.seed)
    for index, first in enumerate(range(0, filling.keys, PUTS_PER_ENTRY), start=1):
        numbers = range(first, min(first + PUTS_PER_ENTRY, filling.keys))
        values = [dice.randbytes(filling.value_bytes) for _ in numbers]
        yield an_entry(index, [puts([key_of(number) for number in numbers], values)])
