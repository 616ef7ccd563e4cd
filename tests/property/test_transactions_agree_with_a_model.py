"""Random transactions, on LMDB with its layers, on dicts, and on a model that shares no code: one answer."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicator.machine.apply import apply_entry
from replicator.machine.digest import Pair, state_hash
from replicator.model.ids import LogIndex, Revision, Term
from replicator.model.log import HardState, TurnWrite
from replicator.model.transactions import Transaction
from replicator.storage import Storage
from tests.support.commands import an_entry, compact, transact
from tests.support.memory_store import MemoryStore
from tests.support.storage_process import opened
from tests.support.transaction_checks import (
    check,
    check_against_the_model,
    check_that_compaction_changes_no_answer,
    pairs_of,
)
from tests.support.transaction_model import ModelStore
from tests.support.transactions import courses, transactions

acts = st.sampled_from(["apply", "apply", "flush", "crash", "compact"])


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(transactions, max_size=8))
def test_the_state_machine_does_what_a_dict_would_do(some: list[Transaction]) -> None:
    check_against_the_model(some)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(transactions, acts), max_size=10))
def test_lmdb_with_its_layers_does_the_same_through_flushes_crashes_and_compactions(
    course: list[tuple[Transaction, str]],
) -> None:
    """Crash: the data file as last flushed is opened again, and the log applied to it anew, as after kill -9."""
    store, model = MemoryStore(), ModelStore()
    with tempfile.TemporaryDirectory() as folder:
        held = opened(Path(folder))
        for transaction, act in course:
            index = LogIndex(store.applied_index + 1)
            batches = [transact(transaction)] + [compact(store.revision)] * (act == "compact")
            entry = an_entry(index, *batches)
            expected = apply_entry(store, entry)
            check(model, transaction, expected[0])
            held.commit(TurnWrite(append=(entry,), hard_state=HardState(Term(1), None, index)))
            assert held.apply([entry]) == [expected]
            if act in ("flush", "compact"):
                held.flush()
            elif act == "crash":
                held.close(flushed=False)
                held = opened(Path(folder))
            assert held.applied_position.rolling_hash == store.rolling_hash
            agree(held, store, model)
        held.flush()
        for revision in range(store.compacted_revision, store.revision + 1):
            assert scanned(held, revision) == store.pairs_at(revision), "of one revision all is seen, or nothing"
        assert held.state_hash()[0] == state_hash(pairs_of(model))
        held.close()


def agree(held: Storage, store: MemoryStore, model: ModelStore) -> None:
    position = held.applied_position
    assert (position.revision, position.live_keys) == (model.revision, len(model.pairs))
    for key in store.revisions:
        assert held.get(key)[0] == model.pairs.get(key)


def scanned(held: Storage, revision: int) -> list[Pair]:
    page = held.scan(b"", b"", at_revision=Revision(revision), keys_max=100, bytes_max=1 << 20)
    return [(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version) for kv in page.kvs]


@settings(deadline=None, max_examples=100)
@given(courses)
def test_what_is_bounded_does_not_depend_on_what_compaction_has_deleted(course: list[tuple[Transaction, bool]]) -> None:
    check_that_compaction_changes_no_answer(course)
