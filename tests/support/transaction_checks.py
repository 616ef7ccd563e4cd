"""What must hold of transactions in the state machine, as functions: tests run them, planted bugs must fail them."""

from collections.abc import Sequence

from replicator.client.transaction_messages import branch_done, transaction_message
from replicator.machine.apply import apply_entry
from replicator.machine.digest import Pair
from replicator.machine.outcomes import APPLIED, REJECTED, UNCHANGED
from replicator.machine.store_port import DELETED
from replicator.model.transactions import Get, Put, Range, Transaction
from replicator.v1 import store_pb2
from tests.support.commands import an_entry, applied, by, compact, flat, put, transact
from tests.support.memory_store import MemoryStore
from tests.support.transaction_model import Duplicate, ModelStore


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


def check_against_the_model(some: Sequence[Transaction]) -> None:
    """One after the other, they do to dicts under the state machine what they do to the model."""
    store, model = MemoryStore(), ModelStore()
    for transaction in some:
        [outcome] = apply_entry(store, an_entry(store.applied_index + 1, transact(transaction)))
        check(model, transaction, outcome)
        assert store.pairs_at(store.revision) == pairs_of(model)
    assert store.live_keys == len(model.pairs)
    check_numbers(store)


def check_that_compaction_changes_no_answer(course: Sequence[tuple[Transaction, bool]]) -> None:
    """One node has deleted old tombstones, another one has not: limits, results and refusals are the same.

    course: transactions, and whether the history is compacted after each.
    """
    kept, cleaned = MemoryStore(), MemoryStore()
    for store in (kept, cleaned):
        store.limit(transaction_range_keys_max=2, transaction_read_bytes_max=700)
    for transaction, is_compacted in course:
        command = transact(transaction)
        assert applied(kept, command) == applied(cleaned, command)
        if is_compacted:
            assert applied(kept, compact(kept.revision)) == applied(cleaned, compact(cleaned.revision))
            cleaned.delete_old_tombstones()
        assert kept.rolling_hash == cleaned.rolling_hash


def check_that_a_retry_is_answered_as_before() -> None:
    """Whatever has been written since."""
    store = MemoryStore()
    applied(store, put(b"a", b"1"))
    command = transact(Transaction(then=[Put(b"a", b"2", previous=True), Get(Range(b""))]), by(1, 1))
    [first] = apply_entry(store, an_entry(2, command))
    applied(store, put(b"a", b"9"))
    [retry] = apply_entry(store, an_entry(4, command))
    assert (first.duplicate, retry.duplicate) == (False, True)
    assert list(retry.transactions) == list(first.transactions)
    assert (list(retry.revisions), store.revision) == ([2], 3)


def check_that_a_refused_one_leaves_nothing() -> None:
    """Its last operation meets a limit, after two writes."""
    store = MemoryStore()
    applied(store, *[put(b"%d" % number) for number in range(4)])
    store.limit(transaction_range_keys_max=3)
    [row] = applied(store, transact(Transaction(then=[Put(b"x", b""), Put(b"y", b""), Get(Range(b""))])))
    assert row.status == REJECTED
    assert (store.revision, store.live_keys, len(store.pairs_at(9))) == (4, 4, 4)


def check_that_the_digest_covers_results() -> None:
    """Two stores that answer one transaction differently have different rolling hashes."""
    healthy, diverged = MemoryStore(), MemoryStore()
    diverged.put_change(b"a", b"?", (1, 0, 1, 1, 0, 0, 1), None, 1)
    for store in (healthy, diverged):
        apply_entry(store, an_entry(1, transact(Transaction(then=[Get(b"a")]))))
    assert healthy.rolling_hash != diverged.rolling_hash
