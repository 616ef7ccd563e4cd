"""What a command does, exactly-once aside."""

from replicator.machine.apply import apply_entry
from replicator.machine.codec import NO_OP_PAYLOAD, encode_entry
from replicator.machine.outcomes import APPLIED, COMPARE_FAILED, REJECTED, UNCHANGED
from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry
from replicator.model.values import KeyValue
from tests.support.commands import an_entry, applied, delete, flat, put, swap
from tests.support.memory_store import MemoryStore


def test_a_put_makes_one_revision_and_counts_versions_from_the_creation() -> None:
    store = MemoryStore()
    first, other, second = applied(store, put(b"a", b"1"), put(b"b", b"1"), put(b"a", b"2"))

    assert [first.revision, other.revision, second.revision] == [1, 2, 3]
    assert {outcome.status for outcome in (first, other, second)} == {APPLIED}
    assert store.pairs_at(3) == [(b"a", b"2", 1, 3, 2), (b"b", b"1", 2, 2, 1)]
    assert store.live_keys == 2


def test_a_key_written_after_its_deletion_starts_again_at_version_one() -> None:
    store = MemoryStore()
    applied(store, put(b"a"), put(b"a"), delete(b"a"), put(b"a", b"new"))

    assert store.pairs_at(4) == [(b"a", b"new", 4, 4, 1)]
    assert store.pairs_at(3) == []
    assert store.live_keys == 1


def test_deleting_an_absent_key_changes_nothing() -> None:
    store = MemoryStore()
    never, _, _, gone = applied(store, delete(b"x"), put(b"a"), delete(b"a"), delete(b"a"))
    [again] = applied(store, delete(b"a"))

    assert never.status == gone.status == again.status == UNCHANGED
    assert (never.revision, gone.revision, again.revision) == (0, 2, 2)
    assert store.revision == 2
    assert store.live_keys == 0


def test_compare_and_set_wins_only_on_the_current_revision() -> None:
    store = MemoryStore()
    created, lost, won, stale = applied(
        store, swap(b"a", b"1", 0), swap(b"a", b"2", 0), swap(b"a", b"3", 1), swap(b"a", b"4", 1)
    )

    assert (created.status, created.revision) == (APPLIED, 1)
    assert (
        lost.status,
        lost.revision,
        lost.current and lost.current.value,
        lost.current and lost.current.mod_revision,
    ) == (COMPARE_FAILED, 1, b"1", 1)
    assert (won.status, won.revision) == (APPLIED, 2)
    assert (stale.status, stale.current) == (COMPARE_FAILED, KeyValue(b"", b"3", 1, 2, 2))


def test_compare_and_set_sees_a_deleted_key_as_one_that_does_not_exist() -> None:
    store = MemoryStore()
    outcomes = applied(store, put(b"a"), delete(b"a"), swap(b"a", b"x", 2), swap(b"a", b"y", 0))

    assert outcomes[2].status == COMPARE_FAILED
    assert outcomes[2].current is None
    assert outcomes[3].status == APPLIED
    assert store.pairs_at(3) == [(b"a", b"y", 3, 3, 1)]


def test_a_bad_key_or_value_is_rejected_alone_and_names_its_limit() -> None:
    store = MemoryStore()
    outcomes = applied(store, put(b""), put(b"k" * 4097), put(b"k", b"v" * ((1 << 20) + 1)), delete(b""), put(b"good"))

    assert [outcome.status for outcome in outcomes] == [REJECTED] * 4 + [APPLIED]
    assert {outcome.reason for outcome in outcomes[:4]} == {"INVALID_ARGUMENT"}
    assert "4096" in outcomes[1].message
    assert "1048576" in outcomes[2].message
    assert store.revision == 1


def test_the_largest_key_and_value_are_accepted() -> None:
    assert applied(MemoryStore(), put(b"k" * 4096, b"v" * (1 << 20)))[0].status == APPLIED


def test_a_command_without_an_operation_or_that_does_not_decode_is_rejected_alone() -> None:
    store = MemoryStore()
    outcomes = applied(store, b"", b"\xff\xff\xff", put(b"a"))

    assert [outcome.status for outcome in outcomes] == [REJECTED, REJECTED, APPLIED]


def test_a_no_op_moves_index_and_hash_and_nothing_else() -> None:
    store = MemoryStore()
    applied(store, put(b"a"), time_ms=7)
    hash_before = store.rolling_hash

    assert apply_entry(store, Entry(NO_OP_PAYLOAD, LogIndex(2), Term(1))) == []
    assert (store.applied_index, store.revision, store.time_ms, store.live_keys) == (2, 1, 7, 1)
    assert store.rolling_hash != hash_before


def test_an_unreadable_entry_is_one_rejection_and_the_log_goes_on() -> None:
    store = MemoryStore()
    for payload in (b"", b"\x02rest", b"\xffrest", b"\x00\xff\xff\xff"):
        [outcome] = apply_entry(store, Entry(payload, LogIndex(store.applied_index + 1), Term(1)))
        assert (flat(outcome).status, outcome.reason) == (REJECTED, "INVALID_ARGUMENT")
    assert (store.applied_index, store.revision) == (4, 0)


def test_log_time_never_moves_back() -> None:
    store = MemoryStore()
    applied(store, put(b"a"), time_ms=100)
    applied(store, put(b"a"), time_ms=50)

    assert store.time_ms == 100
    assert store.events[2, 0].time_ms == 100


def test_the_rolling_hash_tells_different_histories_apart() -> None:
    def hash_after(payload: bytes, term: int = 1) -> bytes:
        store = MemoryStore()
        apply_entry(store, Entry(payload, LogIndex(1), Term(term)))
        return store.rolling_hash

    payload = encode_entry(1, [put(b"a")])
    assert hash_after(payload) == hash_after(payload)
    assert len({hash_after(payload), hash_after(payload, term=2), hash_after(encode_entry(1, [put(b"b")]))}) == 3


def test_the_rolling_hash_covers_outcomes_so_that_a_diverged_state_shows() -> None:
    """Same log, but one store held something else before: the next comparison tells."""
    healthy, diverged = MemoryStore(), MemoryStore()
    entry = an_entry(1, swap(b"a", b"x", 0))
    diverged.put_change(b"a", b"?", (1, 0, 1, 1, 0, 0, 1), None, 1)
    apply_entry(healthy, entry)
    apply_entry(diverged, entry)

    assert healthy.rolling_hash != diverged.rolling_hash
