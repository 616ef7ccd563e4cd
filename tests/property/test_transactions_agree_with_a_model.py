"""Random transactions, on LMDB with its layers, on dicts, and on a model that shares no code: one answer."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicator.client.transaction_messages import branch_done, transaction_message
from replicator.machine.apply import apply_entry
from replicator.machine.digest import Pair, state_hash
from replicator.machine.outcomes import APPLIED, REJECTED, UNCHANGED
from replicator.machine.store_port import DELETED
from replicator.model.ids import LogIndex, Revision, Term
from replicator.model.log import HardState, TurnWrite
from replicator.model.transactions import Transaction
from replicator.storage import Storage
from replicator.v1 import store_pb2
from tests.support.commands import an_entry, applied, compact, flat, transact
from tests.support.memory_store import MemoryStore
from tests.support.storage_process import opened
from tests.support.transaction_model import Duplicate, ModelStore
from tests.support.transactions import transactions

acts = st.sampled_from(["apply", "apply", "flush", "crash", "compact"])


def check(model: ModelStore, transaction: Transaction, outcome: store_pb2.BatchOutcome) -> None:
    """One outcome of the state machine is what the model does, too."""
    row = flat(outcome)
    before = model.revision
    try:
        expected = model.run(transaction)
    except Duplicate:
        assert (row.status, row.reason) == (REJECTED, "INVALID_ARGUMENT"), row
        assert "is a duplicate" in row.message
        assert not outcome.transactions
        return
    assert row.status == (APPLIED if model.revision > before else UNCHANGED), row
    assert row.revision == model.revision
    [transacted] = outcome.transactions
    assert branch_done(transacted.result, transaction_message(transaction)) == expected


def pairs_of(model: ModelStore) -> list[Pair]:
    in_order = [model.pairs[key] for key in sorted(model.pairs)]
    return [(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version) for kv in in_order]


def check_numbers(store: MemoryStore) -> None:
    """The changes of each revision are numbered from 0 without a gap, and each key's versions are counted from 1."""
    last = (0, 0)
    for number in sorted(store.events):
        assert number in ((last[0] + 1, 0), (last[0], last[1] + 1))
        last = number
    assert last[0] == store.revision
    for numbers in store.revisions.values():
        version = create = 0
        for number in numbers:
            record = store.events[number].record
            if record[5] & DELETED:
                version = 0
                continue
            version, create = version + 1, create if version else number[0]
            assert (record[2], record[3]) == (create, version)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(transactions, max_size=8))
def test_the_state_machine_does_what_a_dict_would_do(some: list[Transaction]) -> None:
    store, model = MemoryStore(), ModelStore()
    for transaction in some:
        [outcome] = apply_entry(store, an_entry(store.applied_index + 1, transact(transaction)))
        check(model, transaction, outcome)
        assert store.pairs_at(store.revision) == pairs_of(model)
    assert store.live_keys == len(model.pairs)
    check_numbers(store)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
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
@given(st.lists(transactions, max_size=6), st.data())
def test_what_is_bounded_does_not_depend_on_what_compaction_has_deleted(
    some: list[Transaction], data: st.DataObject
) -> None:
    """One node has deleted old tombstones, another one has not: limits, results and refusals are the same."""
    kept, cleaned = MemoryStore(), MemoryStore()
    for transaction in some:
        for store in (kept, cleaned):
            store.limit(transaction_range_keys_max=3, transaction_read_bytes_max=700)
        command = transact(transaction)
        assert applied(kept, command) == applied(cleaned, command)
        if data.draw(st.booleans()):
            assert applied(kept, compact(kept.revision)) == applied(cleaned, compact(cleaned.revision))
            cleaned.delete_old_tombstones()
        assert kept.rolling_hash == cleaned.rolling_hash
