"""A compacted store answers from the compacted revision on as one that remembers everything, and forgets the rest."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from replicator.machine.apply import apply_entry
from replicator.machine.digest import Pair
from replicator.model import transactions as of
from replicator.model.errors import Compacted
from replicator.model.ids import Revision
from replicator.storage import Storage
from replicator.storage.layout import Database, Transaction
from replicator.storage.state import compacting
from replicator.storage.state.records import unpack_revision
from tests.support.commands import a_turn, an_entry, compact, delete, put, transact
from tests.support.memory_store import MemoryStore
from tests.support.storage_process import opened


def put_and_delete(key: bytes) -> bytes:
    """Two changes of one key in one revision."""
    put, delete = (of.Transaction(then=[each]) for each in (of.Put(key, b"4"), of.Delete(key)))
    return transact(of.Transaction(then=[put, delete]))


def delete_and_put(key: bytes, other: bytes) -> bytes:
    """Two changes of one revision, of two keys, or of one."""
    delete, put = (of.Transaction(then=[each]) for each in (of.Delete(key), of.Put(other, b"3")))
    return transact(of.Transaction(then=[put, delete] if key == other else [delete, put]))


keys = st.sampled_from([b"a", b"b", b"c\x00", b"l" * 450])
changes = (
    st.builds(put, keys, st.sampled_from([b"1", b"22"]))
    | st.builds(delete, keys)
    | st.builds(put_and_delete, keys)
    | st.builds(delete_and_put, keys, keys)
)
steps = st.lists(st.tuples(st.lists(changes, max_size=6), st.none() | st.integers(1, 40)), min_size=1, max_size=6)


def scanned(storage: Storage, revision: int) -> list[Pair]:
    page = storage.scan(b"", b"", at_revision=Revision(revision), keys_max=100, bytes_max=1 << 20)
    return [(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version) for kv in page.kvs]


def needed(model: MemoryStore, compacted: int) -> set[tuple[int, int]]:
    """Changes that a read at or after the compacted revision can meet, or that a watch from there would see."""
    kept = {number for number in model.events if number[0] >= compacted}
    for numbers in model.revisions.values():
        before = [number for number in numbers if number[0] <= compacted]
        kept -= set(before[:-1])  # also one that another change of the same revision has superseded
        if before and not model.events[before[-1]].deleted:
            kept.add(before[-1])
    return kept


@pytest.mark.parametrize("a_step", [1, 3, 1024])
@settings(
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(log=[([put(b"a", b"1")] * 6 + [delete(b"a"), put(b"b", b"1")], 8), ([put(b"a", b"1")], None)])
@given(log=steps)
def test_reads_from_the_compacted_revision_on_are_as_before_and_the_rest_is_gone(
    monkeypatch: pytest.MonkeyPatch, a_step: int, log: list[tuple[list[bytes], int | None]]
) -> None:
    monkeypatch.setattr(compacting, "COMPACT_CHANGES_MAX", a_step)
    model = MemoryStore()
    with tempfile.TemporaryDirectory() as place:
        storage = opened(Path(place))
        for index, (batches, to) in enumerate(log, start=1):
            entry = an_entry(index, *batches, *([] if to is None else [compact(to)]))
            assert storage.commit(a_turn(entry)) == [apply_entry(model, entry)]
            agree(storage, model)
        for _ in range(2 * model.revision):
            storage.flush()
        agree(storage, model)
        with storage._environment.read() as txn:
            databases = storage._databases
            if model.compacted_revision:
                assert {unpack_revision(number) for number in rows(txn, databases.changes)} == needed(
                    model, model.compacted_revision
                )
            index_rows, superseded = len(rows(txn, databases.index)), rows(txn, databases.superseded)
            assert index_rows + len(superseded) == len(rows(txn, databases.changes)), "each change is named once"
        storage.close()


def rows(txn: Transaction, database: Database) -> list[bytes]:
    with txn.cursor(db=database) as cursor:
        return list(cursor.iternext(keys=True, values=False))


def agree(storage: Storage, model: MemoryStore) -> None:
    for revision in range(model.revision + 1):
        if revision < model.compacted_revision:
            with pytest.raises(Compacted, match="is forgotten"):
                scanned(storage, revision)
        else:
            assert scanned(storage, revision) == model.pairs_at(revision)
