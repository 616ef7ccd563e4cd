"""Batches of several commands: mixed kinds, limits, and exactly-once by the batch."""

import pytest

from replicator.machine.apply import apply_entry
from replicator.machine.outcomes import APPLIED, COMPARE_FAILED, REJECTED, UNCHANGED, outcome_at
from replicator.v1 import store_pb2
from tests.support.commands import Batch, an_entry, applied, by, client, compact, delete, put, swap, together
from tests.support.memory_store import MemoryStore


def sent(store: MemoryStore, *batches: bytes) -> list[store_pb2.BatchOutcome]:
    return apply_entry(store, an_entry(store.applied_index + 1, *batches))


def test_a_batch_of_all_kinds_is_evaluated_in_order_and_each_command_has_its_row() -> None:
    store = MemoryStore()
    commands = (put(b"a", b"1"), swap(b"a", b"2", 1), swap(b"a", b"3", 1), delete(b"x"), put(b""), delete(b"a"))
    [outcome] = sent(store, together(*commands))

    rows = [outcome_at(outcome, position) for position in range(6)]
    assert [row.status for row in rows] == [APPLIED, APPLIED, COMPARE_FAILED, UNCHANGED, REJECTED, APPLIED]
    assert [row.revision for row in rows] == [1, 2, 2, 2, 2, 3]
    assert rows[2].current is not None
    assert (rows[2].current.value, rows[2].current.mod_revision) == (b"2", 2)
    assert rows[4].reason == "INVALID_ARGUMENT"


def test_a_batch_that_is_applied_as_a_whole_says_so_without_a_status_a_command() -> None:
    [outcome] = sent(MemoryStore(), together(put(b"a"), put(b"b"), swap(b"c", b"", 0)))
    assert (list(outcome.statuses), list(outcome.revisions)) == ([], [1, 2, 3])


@pytest.mark.parametrize(
    "batch",
    [
        Batch(),
        Batch(keys=[b"a"]),
        Batch(keys=[b"a"], values=[b"1", b"2"]),
        Batch(kinds=[Batch.KIND_DELETE], keys=[b"a"], values=[b"1"]),
        Batch(kinds=[Batch.KIND_COMPARE_AND_SET], keys=[b"a"], values=[b"1"]),
        Batch(kinds=[Batch.KIND_COMPACT], keys=[b"a"], expected_revisions=[1]),
        Batch(kinds=[4], keys=[b"a"]),  # type: ignore[list-item]  # of a later release
        Batch(keys=[b"k"] * 4097, values=[b""] * 4097),
    ],
)
def test_columns_that_do_not_fit_each_other_refuse_the_whole_batch(batch: store_pb2.CommandBatch) -> None:
    store = MemoryStore()
    batch.client_id, batch.first_sequence, batch.oldest_pending = client(1), 1, 1
    [outcome] = sent(store, batch.SerializeToString())
    assert (outcome.reason, list(outcome.revisions)) == ("INVALID_ARGUMENT", [])
    assert (store.revision, store.session_count()) == (0, 0)


def test_values_found_by_one_batch_are_bounded_and_say_so() -> None:
    store = MemoryStore()
    store.limit(found_bytes_max=10)
    sent(store, together(put(b"a", b"x" * 20), put(b"b", b"y" * 5), put(b"c", b"")))
    [outcome] = sent(store, together(swap(b"a", b"", 9), swap(b"b", b"", 9), swap(b"c", b"", 9)))

    shown = [(found.value, found.value_omitted, found.mod_revision) for found in outcome.found]
    assert shown == [(b"x" * 20, False, 1), (b"", True, 2), (b"", True, 3)], "the first is always shown"


def test_a_retried_batch_gets_its_outcome_whole_and_a_part_of_it_is_another_batch() -> None:
    store = MemoryStore()
    whole = together(put(b"a"), delete(b"x"), put(b"b"), write_id=by(1, 5, oldest_pending=1))
    [first] = sent(store, whole)
    [retry] = sent(store, whole)
    assert (retry.duplicate, list(retry.revisions), retry.index) == (True, list(first.revisions), 1)
    for other in (
        together(put(b"a"), delete(b"x"), write_id=by(1, 5, 1)),
        together(put(b"a"), delete(b"x"), put(b"b"), put(b"c"), write_id=by(1, 5, 1)),
        put(b"b", b"v", by(1, 7, 1)),
        together(put(b"a"), put(b"b"), write_id=by(1, 4, 1)),
        together(*[put(b"z")] * 7, write_id=by(1, 3, 1)),
    ):
        [refused] = sent(store, other)
        assert refused.reason == "WRITE_ID_REUSED", other
    assert store.revision == 2
    [before], [after] = sent(store, put(b"c", b"", by(1, 4, 1))), sent(store, put(b"d", b"", by(1, 8, 1)))
    assert (list(before.revisions), list(after.revisions)) == ([3], [4])


def test_a_batch_of_which_the_client_still_waits_for_a_part_is_kept() -> None:
    store = MemoryStore()
    whole = together(put(b"a"), put(b"b"), write_id=by(1, 1))
    sent(store, whole)
    sent(store, put(b"c", b"", by(1, 3, oldest_pending=2)))
    [retry] = sent(store, whole)
    assert retry.duplicate
    assert store.sessions[client(1)].floor == 1
    sent(store, put(b"d", b"", by(1, 4, oldest_pending=3)))
    [late] = sent(store, whole)
    assert late.reason == "SESSION_EXPIRED"


def test_a_client_with_too_many_bytes_remembered_is_told_to_finish_older_writes() -> None:
    store = MemoryStore()
    store.limit(session_kept_bytes_max=1000)
    applied(store, put(b"a", b"x" * 900))
    for sequence in (1, 2):
        applied(store, swap(b"a", b"", 9, by(1, sequence, oldest_pending=1)))
    [refused] = applied(store, put(b"b", b"", by(1, 3, oldest_pending=1)))
    assert (refused.reason, refused.status) == ("OVERLOADED", REJECTED)
    [taken] = applied(store, put(b"b", b"", by(1, 3, oldest_pending=2)))
    assert taken.status == APPLIED


def test_a_compaction_is_a_command_of_the_log_that_makes_no_revision() -> None:
    store = MemoryStore()
    applied(store, put(b"a"), put(b"a"))
    ahead, done, again, back = applied(store, compact(3), compact(2), compact(2), compact(1))

    assert [each.status for each in (ahead, done, again, back)] == [REJECTED, APPLIED, REJECTED, REJECTED]
    assert [each.reason for each in (ahead, again, back)] == ["INVALID_ARGUMENT", "COMPACTED", "COMPACTED"]
    assert (store.revision, store.compacted_revision) == (2, 2)
