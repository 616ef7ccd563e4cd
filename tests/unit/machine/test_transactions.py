"""Transactions in the state machine: etcd's rules one by one, limits, refusals that change nothing, exactly once."""

import pytest

from replicator.machine import digest
from replicator.machine.apply import apply_entry
from replicator.machine.outcomes import APPLIED, REJECTED, UNCHANGED, outcome_at
from replicator.model.transactions import Delete, Get, If, Operation, Put, Range, Transaction
from replicator.v1 import kv_pb2, store_pb2
from tests.support.commands import Batch, an_entry, applied, by, compact, delete, flat, put, swap, together, transact
from tests.support.memory_store import MemoryStore

ALL = Range(b"")


def run(store: MemoryStore, transaction: Transaction) -> store_pb2.BatchOutcome:
    [outcome] = apply_entry(store, an_entry(store.applied_index + 1, transact(transaction)))
    return outcome


def result(outcome: store_pb2.BatchOutcome, position: int = 0) -> kv_pb2.TransactionResult:
    row = outcome_at(outcome, position)
    assert row.result is not None, row
    return row.result


def found(done: kv_pb2.OperationResult) -> list[tuple[bytes, bytes]]:
    return [(pair.key, pair.value) for pair in done.pairs]


def test_all_changes_share_one_revision_and_are_numbered_within_it() -> None:
    store = MemoryStore()
    applied(store, put(b"c"), put(b"d"))
    outcome = run(store, Transaction(then=[Put(b"b", b"1"), Delete(Range(b"c")), Put(b"a", b"2")]))

    assert (list(outcome.revisions), list(outcome.statuses)) == ([3], [])
    assert [number for number in store.events if number[0] == 3] == [(3, 0), (3, 1), (3, 2), (3, 3)]
    assert [store.events[3, sub].key for sub in range(4)] == [b"b", b"c", b"d", b"a"]
    assert (store.revision, store.live_keys) == (3, 2)


def test_a_transaction_that_changes_nothing_takes_no_revision() -> None:
    store = MemoryStore()
    applied(store, put(b"a"))
    outcome = run(store, Transaction(then=[Delete(b"x"), Get(b"a")]))
    assert (flat(outcome).status, flat(outcome).revision, store.revision) == (UNCHANGED, 1, 1)


def test_an_operation_sees_what_those_before_it_wrote_and_compares_do_not() -> None:
    """As in etcd: every compare, of nested transactions too, is about the state before the outermost transaction."""
    store = MemoryStore()
    applied(store, put(b"a", b"old"))
    nested = Transaction([If.value(b"a") == b"old"], [Put(b"c", b"then")], [Put(b"c", b"else")])
    later = Transaction(then=[Delete(b"c")])
    done = result(run(store, Transaction(then=[Put(b"a", b"new"), Get(b"a"), nested, later, Get(ALL)])))

    assert found(done.results[1]) == [(b"a", b"new")]
    assert done.results[2].transaction.succeeded, "although the value is another one by then"
    assert (done.results[3].transaction.results[0].count, found(done.results[4])) == (1, [(b"a", b"new")])
    assert done.results[4].pairs[0].mod_revision == 2


def test_previous_pairs_are_those_right_before_the_operation() -> None:
    store = MemoryStore()
    applied(store, put(b"a", b"1"))
    nested = Transaction(then=[Put(b"b", b"2")])
    done = result(run(store, Transaction(then=[Put(b"a", b"3", previous=True), nested, Get(b"b")])))
    assert found(done.results[0]) == [(b"a", b"1")]
    assert (done.results[0].count, done.results[1].transaction.results[0].count) == (1, 0)


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (If.value(b"none") != b"x", False),  # it has no value
        (If.value(b"none") == b"", False),
        (If.version(b"none") == 0, True),
        (If.mod_revision(b"none") < 1, True),
        (If.version(b"none") > -1, True),
        (If.missing(b"none"), True),
        (If.exists(b"a"), True),
        (If.value(Range(b"x", b"y")) != b"1", False),  # an empty range is like a key that does not exist
        (If.missing(Range(b"x", b"y")), True),
        (If.exists(Range(b"x", b"y")), False),
        (If.version(Range(b"b", b"a")) == 0, True),
        (If.exists(ALL), True),
        (If.value(ALL) == b"1", False),  # of `b` it is 2
        (If.value(ALL) < b"3", True),
        (If.mod_revision(ALL) > 0, True),
        (If.create_revision(ALL) < 2, False),
    ],
)
def test_what_is_not_there_compares_as_in_etcd(compare: object, holds: bool) -> None:
    store = MemoryStore()
    applied(store, put(b"a", b"1"), put(b"b", b"2"), put(b"gone"), delete(b"gone"))
    assert result(run(store, Transaction([compare]))).succeeded == holds  # type: ignore[list-item]


def test_a_get_of_a_range_is_cut_by_its_limit_and_says_so() -> None:
    store = MemoryStore()
    applied(store, put(b"a", b"1"), put(b"b", b"2"), put(b"c", b"3"))
    gets = [Get(ALL, limit=2), Get(ALL, limit=3), Get(ALL, keys_only=True), Get(ALL, limit=1, count_only=True)]
    two, three, keys, count = result(run(store, Transaction(then=gets))).results
    assert (found(two), two.count, two.more) == ([(b"a", b"1"), (b"b", b"2")], 2, True)
    assert (three.count, three.more) == (3, False)
    assert (found(keys), keys.pairs[2].mod_revision) == ([(b"a", b""), (b"b", b""), (b"c", b"")], 3)
    assert (found(count), count.count) == ([], 3)


DUPLICATES: list[tuple[list[Operation], str | None]] = [
    ([Put(b"k", b""), Put(b"k", b"")], "then[1].put.key is a duplicate: then[0].put.key puts the same key"),
    ([Put(b"k", b""), Delete(b"k")], "then[0].put.key is a duplicate: another operation"),
    ([Delete(Range(b"a", b"z")), Put(b"k", b"")], "then[1].put.key is a duplicate: another operation"),
    ([Delete(Range(b"a", b"k")), Put(b"k", b"")], None),
    ([Delete(Range(b"z", b"a")), Put(b"k", b"")], None),
    ([Delete(Range(b"a")), Put(b"k", b"")], None),  # etcd looks at ranges with an end only
    ([Delete(b"k"), Delete(ALL), Get(b"k"), Get(b"k")], None),
    ([Put(b"k", b""), Transaction(then=[Put(b"k", b"")])], "then[0].put.key is a duplicate: then[1].transaction.then"),
    ([Transaction((), [Put(b"k", b"")], [Put(b"k", b"")])], None),
    ([Transaction((), [Put(b"k", b"")], [Delete(b"k")])], None),
    ([Transaction((), [Put(b"k", b"")], [Delete(b"k")]), Put(b"k", b"")], "then[1].put.key is a duplicate"),
    ([Delete(b"k"), Transaction(then=[Transaction(then=[Put(b"k", b"")])])], "then[1].transaction.then[0].transaction"),
    ([Transaction(then=[Delete(b"k")]), Transaction(then=[Put(b"k", b"")])], "then[1].transaction.then[0].put.key"),
    ([Transaction(then=[Put(b"k", b"")]), Transaction(then=[Delete(b"k")])], None),  # etcd looks back only
]


@pytest.mark.parametrize(("branch", "refusal"), DUPLICATES)
@pytest.mark.parametrize("is_taken", [True, False])
def test_a_branch_that_puts_a_key_twice_is_refused_whichever_branch_runs(
    branch: list[Operation], refusal: str | None, is_taken: bool
) -> None:
    store = MemoryStore()
    row = flat(run(store, Transaction([If.missing(b"none") if is_taken else If.exists(b"none")], then=branch)))
    if refusal is None:
        assert row.status in (APPLIED, UNCHANGED), row
    else:
        assert (row.status, row.reason, store.revision) == (REJECTED, "INVALID_ARGUMENT", 0)
        assert row.message.startswith(refusal)


def nested(depth: int) -> Transaction:
    innermost = Transaction(then=[Put(b"k", b"")])
    for _ in range(depth - 1):
        innermost = Transaction(then=[innermost])
    return innermost


@pytest.mark.parametrize(
    ("transaction", "refusal"),
    [
        (Transaction(then=[Put(b"", b"")]), "then[0].put.key has 0 bytes, must have 1 to 4096"),
        (Transaction(then=[Put(b"k", bytes((1 << 20) + 1))]), "then[0].put.value has 1048577 bytes, the limit"),
        (Transaction(or_else=[Get(b"k" * 4097)]), "or_else[0].get.key has 4097 bytes"),
        (Transaction([If.value(b"") == b""]), "compare[0].key has 0 bytes"),
        (Transaction(then=[Delete(Range(b"a", b"k" * 4097))]), "then[0].delete.range.end has 4097 bytes"),
        (Transaction(then=[Get(b"k")] * 1025), "transaction has 1025 operations or more, the limit is 1024; split it"),
        (Transaction([If.missing(b"k")] * 1025), "transaction has 1025 compares or more, the limit is 1024; split it"),
        (Transaction(then=[Transaction(then=[Get(b"k")] * 512), Transaction((), (), [Get(b"k")] * 511)]),
         "transaction has 1025 operations or more"),
        # The field comes before the duplicate, as in etcd.
        (Transaction(then=[Put(b"k", b""), Put(b"k", b""), Get(b"")]), "then[2].get.key has 0 bytes"),
    ],
)  # fmt: skip
def test_what_no_state_could_accept_is_refused_by_field_and_limit(transaction: Transaction, refusal: str) -> None:
    store = MemoryStore()
    row = flat(run(store, transaction))
    assert (row.status, row.reason, store.revision) == (REJECTED, "INVALID_ARGUMENT", 0)
    assert row.message.startswith(refusal)


def test_the_largest_and_the_deepest_transaction_are_applied() -> None:
    store = MemoryStore()
    puts = [Put(b"%04d" % number, b"v") for number in range(1024)]
    assert flat(run(store, Transaction([If.missing(b"%d" % n) for n in range(1024)], puts))).status == APPLIED
    assert (store.live_keys, store.revision, max(store.events)) == (1024, 1, (1, 1023))
    assert flat(run(store, nested(32))).status == APPLIED
    too_deep = kv_pb2.Transaction()
    too_deep.then.add().transaction.CopyFrom(kv_pb2.Transaction.FromString(_data_of(transact(nested(32)))))
    raw = Batch(kinds=[Batch.KIND_TRANSACTION], transactions=[too_deep.SerializeToString()]).SerializeToString()
    [row] = applied(store, raw)
    assert (row.status, "33 levels deep, the limit is 32" in row.message) == (REJECTED, True)


def _data_of(batch: bytes) -> bytes:
    return Batch.FromString(batch).transactions[0]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff",
        kv_pb2.Transaction(then=[kv_pb2.Operation()]).SerializeToString(),
        kv_pb2.Transaction(then=[kv_pb2.Operation(get=kv_pb2.GetOperation())]).SerializeToString(),
        kv_pb2.Transaction(compare=[kv_pb2.Compare(key=b"k")]).SerializeToString(),
        kv_pb2.Transaction(compare=[kv_pb2.Compare(key=b"k", target=5, relation=1)]).SerializeToString(),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_transaction_is_rejected_alone(data: bytes) -> None:
    store = MemoryStore()
    kinds = [Batch.KIND_PUT, Batch.KIND_TRANSACTION, Batch.KIND_PUT]
    batch = Batch(kinds=kinds, keys=[b"a", b"b"], values=[b"1", b"2"], transactions=[data])
    [outcome] = apply_entry(store, an_entry(1, batch.SerializeToString()))
    assert list(outcome.statuses) == [APPLIED, REJECTED, APPLIED]
    assert store.revision == 2


# Limits that depend on the state


def a_store_of_ten(**limits: int) -> MemoryStore:
    store = MemoryStore()
    applied(store, *[put(b"%d" % number, b"x" * 10) for number in range(10)])
    store.limit(**limits)
    return store


@pytest.mark.parametrize(
    ("limits", "operation", "said"),
    [
        ({"transaction_range_keys_max": 9}, Delete(Range(b"", b"n")), "its ranges meet more than 9 keys"),
        ({"transaction_range_keys_max": 9}, Get(ALL, count_only=True), "its ranges meet more than 9 keys"),
        ({"transaction_read_bytes_max": 109}, Get(ALL), "it reads more than 109 bytes"),
        ({"transaction_result_bytes_max": 300}, Get(ALL), "its results hold more than 300 bytes"),
    ],
)
def test_beyond_what_one_transaction_may_read_nothing_of_it_happens(
    limits: dict[str, int], operation: Operation, said: str
) -> None:
    store = a_store_of_ten(**limits)
    row = flat(run(store, Transaction(then=[Put(b"new", b""), operation])))
    assert (row.status, row.reason) == (REJECTED, "INVALID_ARGUMENT")
    assert said in row.message
    assert (store.revision, store.live_keys, len(store.events)) == (10, 10, 10)
    store.limits = MemoryStore().limits
    assert flat(run(store, Transaction(then=[Put(b"new", b""), operation]))).status == APPLIED


def test_a_limited_get_stops_where_its_limit_is_reached() -> None:
    store = a_store_of_ten(transaction_range_keys_max=4)
    assert result(run(store, Transaction(then=[Get(ALL, limit=3)]))).results[0].more


def test_compares_of_values_count_as_reads() -> None:
    store = a_store_of_ten(transaction_read_bytes_max=55)
    row = flat(run(store, Transaction([If.value(b"1") == b"x" * 10] * 6)))
    assert "it reads more than 55 bytes" in row.message


def test_the_transactions_of_one_entry_share_its_limit_and_one_that_finds_no_room_may_be_sent_again() -> None:
    store = a_store_of_ten(transaction_range_keys_max=15)
    touch = transact(Transaction(then=[Get(ALL, count_only=True), Put(b"done", b"")]))
    first, second, plain = applied(store, touch, touch, put(b"a"))
    assert (first.status, second.status, plain.status) == (APPLIED, REJECTED, APPLIED)
    assert (second.reason, "send it again" in second.message) == ("OVERLOADED", True)
    assert applied(store, touch)[0].status == APPLIED


def test_what_a_batch_returns_is_bounded_and_one_that_finds_no_room_may_be_sent_again() -> None:
    store = a_store_of_ten(found_bytes_max=100)
    read = transact(Transaction(then=[Get(b"1")]))
    batch = together(read, read, swap(b"1", b"", 99), put(b"a"))
    [outcome] = apply_entry(store, an_entry(store.applied_index + 1, batch))
    rows = [outcome_at(outcome, position) for position in range(4)]
    assert [row.reason for row in rows] == ["", "OVERLOADED", "", ""]
    assert rows[2].value_omitted is False
    assert (rows[0].result is not None, rows[1].result) == (True, None)


# Exactly once


def test_a_retry_gets_the_first_result_whatever_the_store_holds_by_then() -> None:
    store = MemoryStore()
    applied(store, put(b"a", b"1"))
    command = transact(Transaction([If.value(b"a") == b"1"], [Put(b"a", b"2", previous=True), Get(ALL)]), by(1, 1))
    [first] = apply_entry(store, an_entry(2, command))
    applied(store, put(b"a", b"9"), put(b"z", b"9"))
    [retry] = apply_entry(store, an_entry(4, command))

    assert (first.duplicate, retry.duplicate) == (False, True)
    assert result(retry) == result(first)
    assert (retry.revisions, retry.index) == (first.revisions, 2)
    assert store.revision == 4


def test_a_retry_may_be_serialized_by_another_program_and_another_transaction_may_not_take_its_name() -> None:
    """The digest is of the fields: their order on the wire is a matter of who wrote them."""
    store = MemoryStore()
    data = kv_pb2.Transaction(
        then=[kv_pb2.Operation(put=kv_pb2.PutOperation(key=b"k", value=b"v"))],
        or_else=[kv_pb2.Operation(get=kv_pb2.GetOperation(key=b"k"))],
    )
    then, or_else = kv_pb2.Transaction(then=data.then), kv_pb2.Transaction(or_else=data.or_else)
    other_way_round = or_else.SerializeToString() + then.SerializeToString()
    assert other_way_round != data.SerializeToString()

    def named(raw: bytes) -> bytes:
        named_batch = Batch(kinds=[Batch.KIND_TRANSACTION], transactions=[raw], client_id=by(1, 1).client_id)
        named_batch.first_sequence = named_batch.oldest_pending = 1
        return named_batch.SerializeToString()

    applied(store, named(data.SerializeToString()))
    assert applied(store, named(other_way_round))[0].duplicate
    for field in ("key", "value", "previous"):
        other = kv_pb2.Transaction()
        other.CopyFrom(data)
        setattr(other.then[0].put, field, True if field == "previous" else b"other")
        assert applied(store, named(other.SerializeToString()))[0].reason == "WRITE_ID_REUSED", field


def test_the_digest_tells_every_field_of_a_transaction_and_of_its_result() -> None:
    transactions = [
        Transaction(),
        Transaction([If.missing(b"a")]),
        Transaction([If.exists(b"a")]),
        Transaction([If.missing(Range(b"a"))]),
        Transaction([If.missing(Range(b"a", b"b"))]),
        Transaction([If.mod_revision(b"a") == 0]),
        Transaction([If.value(b"a") == b""]),
        Transaction([If.value(b"a") == b"v"]),
        Transaction(then=[Get(b"a")]),
        Transaction((), (), [Get(b"a")]),
        Transaction(then=[Get(b"a", limit=1)]),
        Transaction(then=[Get(b"a", keys_only=True)]),
        Transaction(then=[Get(b"a", count_only=True)]),
        Transaction(then=[Get(Range(b"a"))]),
        Transaction(then=[Delete(b"a")]),
        Transaction(then=[Delete(b"a", previous=True)]),
        Transaction(then=[Put(b"a", b"")]),
        Transaction(then=[Transaction(then=[Get(b"a")])]),
        Transaction(then=[Transaction(), Get(b"a")]),
    ]
    digests = {digest.batch_digest(Batch.FromString(transact(each))) for each in transactions}
    assert len(digests) == len(transactions)

    pair = {"key": b"k", "value": b"v", "create_revision": 1, "mod_revision": 2, "version": 3}
    results: list[kv_pb2.OperationResult] = [
        kv_pb2.OperationResult(),
        kv_pb2.OperationResult(count=1),
        kv_pb2.OperationResult(more=True),
        kv_pb2.OperationResult(transaction=kv_pb2.TransactionResult()),
        kv_pb2.OperationResult(transaction=kv_pb2.TransactionResult(succeeded=True)),
        *[kv_pb2.OperationResult(pairs=[kv_pb2.KeyValue(**(pair | {name: value}))])  # type: ignore[arg-type]
          for name, value in [("key", b"k"), ("key", b"l"), ("value", b"w"), ("create_revision", 9),
                              ("mod_revision", 9), ("version", 9)]],
    ]  # fmt: skip

    def hashed(done: kv_pb2.OperationResult) -> bytes:
        outcome = store_pb2.BatchOutcome(index=1, revisions=[1])
        outcome.transactions.add(position=0, result=kv_pb2.TransactionResult(results=[done]))
        return digest.rolling_hash(digest.GENESIS_HASH, an_entry(1), [outcome])

    assert len({hashed(each) for each in results}) == len(results)


def test_a_key_deleted_before_the_compacted_revision_is_neither_counted_nor_shown() -> None:
    store = a_store_of_ten(transaction_range_keys_max=9)
    applied(store, *[delete(b"%d" % number) for number in range(5)], put(b"9"), compact(15))
    assert flat(run(store, Transaction(then=[Get(ALL)]))).status == UNCHANGED, "4 of 5 deletions are before 15"
    applied(store, put(b"x"), put(b"y"), put(b"z"), put(b"zz"))
    assert flat(run(store, Transaction(then=[Get(ALL)]))).status == REJECTED
