"""Whatever bytes an entry holds, apply answers, moves on, and answers the same everywhere."""

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.client.transaction_messages import transaction_message
from replicator.machine.apply import apply_entry
from replicator.machine.codec import encode_entry
from replicator.machine.outcomes import APPLIED, REJECTED, outcome_at
from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry
from replicator.v1 import kv_pb2, store_pb2
from tests.support.commands import applied, flat, put
from tests.support.memory_store import MemoryStore
from tests.support.transactions import transactions

numbers = st.integers(0, (1 << 64) - 1) | st.integers(0, 3)
some_bytes = st.binary(max_size=40) | st.just(b"") | st.just(b"k" * 4097)
kinds = st.integers(0, 4) | st.integers(-(1 << 31), (1 << 31) - 1)

sound = transactions.map(lambda drawn: transaction_message(drawn).SerializeToString())
bent = st.builds(
    lambda data, at, byte: data[: at % (len(data) + 1)] + byte + data[at % (len(data) + 1) + 1 :],
    sound,
    st.integers(0, 400),
    st.binary(max_size=3),
)
some_transactions = sound | bent | st.binary(max_size=30)


@st.composite
def columns_that_fit(draw: st.DrawFn) -> store_pb2.CommandBatch:
    """A batch whose columns are as long as its commands need them."""
    drawn = draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))

    def column(of: tuple[int, ...], strategy: st.SearchStrategy[Any]) -> list[Any]:
        count = sum(kind in of for kind in drawn)
        return draw(st.lists(strategy, min_size=count, max_size=count))

    return store_pb2.CommandBatch(
        kinds=cast("Any", drawn),
        keys=column((0, 1, 2), some_bytes),
        values=column((0, 2), some_bytes),
        expected_revisions=column((2, 3), numbers),
        transactions=column((4,), some_transactions),
    )


def in_a_session(batch: store_pb2.CommandBatch, session: tuple[bytes, int, int]) -> bytes:
    batch.client_id, batch.first_sequence, batch.oldest_pending = session
    return batch.SerializeToString()


any_columns = st.builds(
    store_pb2.CommandBatch,
    kinds=st.lists(kinds, max_size=3),
    keys=st.lists(some_bytes, max_size=3),
    values=st.lists(some_bytes, max_size=3),
    expected_revisions=st.lists(numbers, max_size=3),
    transactions=st.lists(some_transactions, max_size=2),
)
sessions = st.just((b"", 0, 0)) | st.tuples(st.binary(max_size=20) | st.just(bytes(16)), numbers, numbers)
commands = st.builds(in_a_session, columns_that_fit() | any_columns, sessions)
mutilated = st.builds(
    lambda data, at, byte: data[:at] + byte + data[at + 1 :], commands, st.integers(0, 40), some_bytes
)
batches = st.builds(encode_entry, numbers, st.lists(commands | mutilated | st.binary(max_size=30), max_size=6))
payloads = batches | st.binary(max_size=60) | st.builds(lambda rest: b"\x00" + rest, st.binary(max_size=60))


@settings(deadline=None, max_examples=300)
@given(st.lists(payloads, max_size=8))
def test_any_bytes_are_applied_without_raising_and_with_equal_results(log: list[bytes]) -> None:
    first, second = MemoryStore(), MemoryStore()
    for index, payload in enumerate(log, start=1):
        entry = Entry(payload, LogIndex(index), Term(1))
        before = first.revision
        outcomes = apply_entry(first, entry)
        assert outcomes == apply_entry(second, entry)
        assert all(bool(outcome.reason) != bool(outcome.revisions) for outcome in outcomes)
        rows = [
            (outcome_at(outcome, position), outcome.duplicate)
            for outcome in outcomes
            for position in range(len(outcome.revisions))
        ]
        told = {row.revision for row, duplicate in rows if row.status == APPLIED and not duplicate}
        assert set(range(before + 1, first.revision + 1)) <= told
        assert all(row.status != store_pb2.BatchOutcome.STATUS_UNSPECIFIED for row, _ in rows)
        assert all((row.status == REJECTED) == bool(row.reason) for row, _ in rows)
    assert first.applied_index == len(log)
    assert first.rolling_hash == second.rolling_hash
    assert first.live_keys == len(first.pairs_at(first.revision))
    for client_id, record in first.sessions.items():
        held = first.results_between(client_id, 0, 1 << 64)
        assert record.results == len(held)
        assert record.kept_bytes == sum(len(kept.outcome) for _, kept in held)
        end = record.floor
        for sequence, kept in held:
            assert sequence >= end, "below the floor, or two overlap"
            end = sequence + kept.commands
        assert record.next_sequence >= end


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_however_retries_interleave_each_write_is_applied_once(data: st.DataObject) -> None:
    """Two clients, every write sent one to four times, in any order that real retries can have."""
    sends: list[tuple[int, int]] = []
    for client_number in (1, 2):
        count = data.draw(st.integers(1, 6), label="writes")
        copies = [(client_number, sequence) for sequence in range(1, count + 1)]
        sends += copies + data.draw(st.lists(st.sampled_from(copies), max_size=3 * count), label="retries")
    order = data.draw(st.permutations(sends), label="order")

    store = MemoryStore()
    revisions: dict[tuple[int, int], int] = {}
    place = 0
    while place < len(order):
        size = data.draw(st.integers(1, 4), label="batch")
        batch = order[place : place + size]
        place += size
        payload = encode_entry(
            1,
            [
                put(
                    b"%d-%d" % each,
                    b"x",
                    kv_pb2.WriteId(client_id=bytes([each[0]]) * 16, sequence=each[1], oldest_pending=1),
                )
                for each in batch
            ],
        )
        outcomes = apply_entry(store, Entry(payload, LogIndex(store.applied_index + 1), Term(1)))
        for each, whole in zip(batch, outcomes, strict=True):
            outcome = flat(whole)
            assert outcome.status == APPLIED
            assert outcome.duplicate == (each in revisions)
            assert revisions.setdefault(each, outcome.revision) == outcome.revision
    assert store.revision == store.live_keys == len(set(sends))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=40))
def test_releasing_results_never_lets_a_write_in_twice(sends: list[tuple[int, int]]) -> None:
    """Any floor, any order: a sequence is evaluated at most once, and after its release only refused."""
    store = MemoryStore()
    seen: set[int] = set()
    for sequence, oldest in sends:
        write_id = kv_pb2.WriteId(client_id=bytes(16), sequence=sequence, oldest_pending=min(oldest, sequence))
        [outcome] = applied(store, put(b"k", b"x", write_id))
        if outcome.status == APPLIED and not outcome.duplicate:
            assert sequence not in seen
            seen.add(sequence)
    assert store.revision == len(seen)
