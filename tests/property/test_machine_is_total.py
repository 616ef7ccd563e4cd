"""Whatever bytes an entry holds, apply answers, moves on, and answers the same everywhere."""

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.machine.apply import apply_entry
from replicator.machine.codec import encode_batch
from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry
from replicator.v1 import kv_pb2, store_pb2
from tests.support.commands import put
from tests.support.memory_store import MemoryStore

numbers = st.integers(0, (1 << 64) - 1) | st.integers(0, 3)
some_bytes = st.binary(max_size=40) | st.just(b"") | st.just(b"k" * 481)
write_ids = st.builds(
    kv_pb2.WriteId,
    client_id=st.binary(max_size=20) | st.just(bytes(16)),
    sequence=numbers,
    oldest_pending=numbers,
)
commands = st.builds(
    store_pb2.Command,
    write_id=st.none() | write_ids,
    put=st.none() | st.builds(store_pb2.PutOperation, key=some_bytes, value=some_bytes),
    delete=st.none() | st.builds(store_pb2.DeleteOperation, key=some_bytes),
    compare_and_set=st.none()
    | st.builds(store_pb2.CompareAndSetOperation, key=some_bytes, value=some_bytes, expected_revision=numbers),
).map(store_pb2.Command.SerializeToString)
mutilated = st.builds(
    lambda data, at, byte: data[:at] + byte + data[at + 1 :], commands, st.integers(0, 40), some_bytes
)
batches = st.builds(encode_batch, numbers, st.lists(commands | mutilated | st.binary(max_size=30), max_size=6))
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
        changed = sum(o.status == store_pb2.Outcome.STATUS_APPLIED and not o.duplicate for o in outcomes)
        assert first.revision == before + changed
        assert all(o.status != store_pb2.Outcome.STATUS_UNSPECIFIED for o in outcomes)
        assert all((o.status == store_pb2.Outcome.STATUS_REJECTED) == bool(o.reason) for o in outcomes)
    assert first.applied_index == len(log)
    assert first.rolling_hash == second.rolling_hash
    assert first.live_keys == len(first.pairs_at(first.revision))
    for client_id, record in first.sessions.items():
        held = [sequence for holder, sequence in first.results if holder == client_id]
        assert record.results == len(held)
        assert all(sequence >= record.floor for sequence in held)


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
        payload = encode_batch(
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
        for each, outcome in zip(batch, outcomes, strict=True):
            assert outcome.status == store_pb2.Outcome.STATUS_APPLIED
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
        [outcome] = apply_entry(
            store,
            Entry(encode_batch(1, [put(b"k", b"x", write_id)]), LogIndex(store.applied_index + 1), Term(1)),
        )
        if outcome.status == store_pb2.Outcome.STATUS_APPLIED and not outcome.duplicate:
            assert sequence not in seen
            seen.add(sequence)
    assert store.revision == len(seen)
