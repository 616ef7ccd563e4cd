"""Fills data directories without running nodes, so that a million keys do not take a cluster's time to write.

Goes through the state machine and the storage, turn by turn, exactly as a node does when entries are committed: what it
leaves behind is what nodes would hold that had served these writes. Every directory gets the same entries.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from replicator.dev import ClusterPlan, NodePlan
from replicator.machine.codec import encode_batch
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


def key_of(number: int) -> bytes:
    return b"%016d" % number


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


def an_entry(index: int, commands: list[bytes]) -> Entry:
    """One entry; log time goes on by a millisecond an entry."""
    return Entry(encode_batch(index, commands), LogIndex(index), _TERM)


def put_command(key: bytes, value: bytes) -> bytes:
    """A put without a write id, as the log carries it."""
    return store_pb2.Command(put=store_pb2.PutOperation(key=key, value=value)).SerializeToString()


def _entries(filling: Filling) -> Iterator[Entry]:
    dice = random.Random(filling.seed)
    for index, first in enumerate(range(0, filling.keys, PUTS_PER_ENTRY), start=1):
        numbers = range(first, min(first + PUTS_PER_ENTRY, filling.keys))
        yield an_entry(index, [put_command(key_of(number), dice.randbytes(filling.value_bytes)) for number in numbers])
