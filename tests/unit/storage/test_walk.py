"""A walk over keys sees the data file, what is being flushed, and what is applied since, as one; so do transactions."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicator.machine.apply import apply_entry
from replicator.machine.store_port import Record
from replicator.model.ids import Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.model.transactions import Get, Transaction
from replicator.storage import Storage
from replicator.storage.state.keys import STEM_BYTES
from replicator.storage.state.layers import INSERTED_SINGLY_MAX
from replicator.storage.state.store import LayeredStore
from tests.support.commands import an_entry, by, delete, put, transact
from tests.support.memory_store import MemoryStore
from tests.support.storage_process import opened

STEM = b"s" * STEM_BYTES
SHORT = (b"", b"a", b"a\x00", b"a\x00\xff", b"b", b"z")
names = st.sampled_from([*SHORT, STEM, STEM + b"\x00", STEM + b"1", STEM + b"2", STEM[1:] + b"\x00x"])
keys = names.filter(bool)
writes = st.lists(st.builds(put, keys) | st.builds(delete, keys), max_size=6)


@contextmanager
def store_of(held: Storage) -> Iterator[LayeredStore]:
    """As the state machine gets it."""
    with held._environment.read() as txn:
        yield LayeredStore(txn, held._databases, held._layers.open, held._layers.older)


def apply(held: Storage, model: MemoryStore, entry: Entry) -> None:
    apply_entry(model, entry)
    held.commit(TurnWrite(append=(entry,), hard_state=HardState(Term(1), None, entry.index)))
    held.apply([entry])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(writes, writes, writes, names, names)
def test_a_walk_sees_all_layers_as_one(
    in_file: list[bytes], in_frozen: list[bytes], in_open: list[bytes], start: bytes, end: bytes
) -> None:
    model = MemoryStore()
    with tempfile.TemporaryDirectory() as folder:
        held = opened(Path(folder))
        apply(held, model, an_entry(1, *in_file))
        held.flush()
        apply(held, model, an_entry(2, *in_frozen))
        held._layers.freeze()
        apply(held, model, an_entry(3, *in_open))
        with store_of(held) as store:
            assert ordered(store.walk(start, end)) == ordered(model.walk(start, end))
        held.flush()
        with store_of(held) as store:
            assert ordered(store.walk(start, end)) == ordered(model.walk(start, end))
        held.close()


def ordered(walked: Iterator[tuple[bytes, Record]]) -> tuple[list[tuple[bytes, Record]], list[Record]]:
    """Those in the range, and those that were looked at, whose order is nobody's business."""
    items = list(walked)
    return [item for item in items if item[0]], sorted(record for key, record in items if not key)


def test_many_keys_written_between_two_walks_are_in_order(tmp_path: Path) -> None:
    """Few new keys are put into their places, many are sorted with the others."""
    held, model = opened(tmp_path), MemoryStore()
    written = 0
    for index, count in enumerate((3, INSERTED_SINGLY_MAX, INSERTED_SINGLY_MAX + 1, 0, 500), start=1):
        fresh = [put(b"%d" % (number * 7919 % 1000)) for number in range(written, written + count)]
        written += count
        apply(held, model, an_entry(index, *fresh))
        with store_of(held) as store:
            found = list(store.walk(b"2", b"8"))
        assert found == list(model.walk(b"2", b"8"))
        assert [key for key, _ in found] == sorted(key for key, _ in found)
    held.close()


def test_outcomes_that_are_remembered_count_as_bytes_held_in_memory(tmp_path: Path) -> None:
    """A short transaction may read a lot, and its result waits for the next flush."""
    held, model = opened(tmp_path), MemoryStore()
    apply(held, model, an_entry(1, put(b"k", b"x" * 500_000)))
    held.flush()
    for sequence in range(1, 5):
        command = transact(Transaction(then=[Get(b"k")]), by(1, sequence, oldest_pending=1))
        apply(held, model, an_entry(1 + sequence, command))
    assert held._layers.size_bytes > 2_000_000
    held.close()
