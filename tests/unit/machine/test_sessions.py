"""Exactly once: what is remembered of a client, for how long, and what a retry gets."""

import pytest

from replicator.machine import sessions
from replicator.machine.outcomes import APPLIED, COMPARE_FAILED, REJECTED
from replicator.model.limits import (
    CLIENT_AGE_MS_MAX,
    CLIENT_AHEAD_MS_MAX,
    FORMAT_LIMITS,
    SESSION_FLOOR_STEP_MAX,
    SESSION_IDLE_MS_MAX,
    SESSION_IDLE_MS_MIN,
    SESSION_RESULTS_MAX,
)
from replicator.v1 import kv_pb2
from tests.support.commands import applied, by, client, delete, put, swap
from tests.support.memory_store import MemoryStore

NOW_MS = 10_000_000


def test_a_retry_gets_the_first_outcome_and_changes_nothing() -> None:
    store = MemoryStore()
    [first] = applied(store, put(b"a", b"1", by(1, 1)))
    applied(store, put(b"a", b"2", by(2, 1)))
    [retry] = applied(store, put(b"a", b"1", by(1, 1)))

    assert not first.duplicate
    assert (retry.duplicate, retry.status, retry.revision, retry.at_index) == (True, APPLIED, 1, 1)
    assert store.revision == 2


def test_a_retry_within_one_entry_is_applied_once() -> None:
    store = MemoryStore()
    first, retry = applied(store, put(b"a", b"1", by(1, 1)), put(b"a", b"1", by(1, 1)))

    assert (first.duplicate, retry.duplicate, store.revision) == (False, True, 1)


def test_a_retried_compare_and_set_that_lost_shows_what_it_found_then() -> None:
    store = MemoryStore()
    applied(store, put(b"a", b"found"))
    applied(store, swap(b"a", b"mine", 9, by(1, 1)))
    applied(store, put(b"a", b"later"))
    del store.events[1, 0]  # what a compaction may do
    [retry] = applied(store, swap(b"a", b"mine", 9, by(1, 1)))

    assert (retry.status, retry.duplicate) == (COMPARE_FAILED, True)
    assert retry.current is not None
    assert (retry.current.value, retry.current.mod_revision) == (b"found", 1)


def test_without_a_write_id_every_arrival_is_applied() -> None:
    store = MemoryStore()
    applied(store, put(b"a"), put(b"a"))
    assert store.revision == 2
    assert store.sessions == {}


def test_a_released_result_is_answered_with_session_expired() -> None:
    store = MemoryStore()
    applied(store, put(b"a", b"1", by(1, 1)), put(b"a", b"2", by(1, 2, oldest_pending=2)))
    [late] = applied(store, put(b"a", b"1", by(1, 1)))

    assert (late.status, late.reason) == (REJECTED, "SESSION_EXPIRED")
    assert store.revision == 2
    assert list(store.results) == [(client(1), 2)]
    assert store.sessions[client(1)].results == 1


def test_an_unknown_client_that_already_released_results_has_expired() -> None:
    store = MemoryStore()
    [outcome] = applied(store, put(b"a", b"1", by(1, 5, oldest_pending=3)))

    assert (outcome.status, outcome.reason) == (REJECTED, "SESSION_EXPIRED")
    assert (store.revision, store.session_count()) == (0, 0)


def test_writes_of_one_client_may_arrive_in_any_order() -> None:
    store = MemoryStore()
    outcomes = applied(store, put(b"c", b"3", by(1, 3, 1)), put(b"a", b"1", by(1, 1)), put(b"b", b"2", by(1, 2, 1)))

    assert [outcome.status for outcome in outcomes] == [APPLIED] * 3
    assert store.sessions[client(1)].results == 3


@pytest.mark.parametrize(
    "write_id",
    [
        kv_pb2.WriteId(client_id=b"short", sequence=1, oldest_pending=1),
        kv_pb2.WriteId(client_id=b"x" * 17, sequence=1, oldest_pending=1),
        kv_pb2.WriteId(client_id=client(1), sequence=0, oldest_pending=0),
        kv_pb2.WriteId(client_id=client(1), sequence=1, oldest_pending=0),
        kv_pb2.WriteId(client_id=client(1), sequence=1, oldest_pending=2),
    ],
)
def test_a_malformed_write_id_is_rejected_and_leaves_no_trace(write_id: kv_pb2.WriteId) -> None:
    store = MemoryStore()
    [outcome] = applied(store, put(b"a", b"1", write_id))

    assert (outcome.status, outcome.reason) == (REJECTED, "INVALID_ARGUMENT")
    assert (store.revision, store.session_count(), len(store.results)) == (0, 0, 0)


def test_a_rejected_argument_is_remembered_but_a_full_window_is_not() -> None:
    store = MemoryStore()
    applied(store, put(b"", b"1", by(1, 1)))
    [again] = applied(store, put(b"", b"1", by(1, 1)))
    assert (again.duplicate, again.reason) == (True, "INVALID_ARGUMENT")

    beyond = by(1, 1 + SESSION_RESULTS_MAX, oldest_pending=1)
    [refused] = applied(store, put(b"a", b"1", beyond))
    assert (refused.status, refused.reason) == (REJECTED, "OVERLOADED")
    beyond.oldest_pending = 2
    [accepted] = applied(store, put(b"a", b"1", beyond))
    assert (accepted.status, accepted.duplicate) == (APPLIED, False)


def test_a_client_never_holds_more_results_than_the_limit() -> None:
    store = MemoryStore()
    for sequence in range(1, SESSION_RESULTS_MAX + 50):
        applied(store, put(b"a", b"1", by(1, sequence, oldest_pending=1)))

    assert len(store.results) == store.sessions[client(1)].results == SESSION_RESULTS_MAX
    assert store.revision == SESSION_RESULTS_MAX


def test_an_unknown_client_beyond_the_window_takes_no_place() -> None:
    store = MemoryStore()
    [refused] = applied(store, put(b"a", b"1", by(1, 1 + SESSION_RESULTS_MAX, oldest_pending=1)))

    assert refused.reason == "OVERLOADED"
    assert store.session_count() == 0


def test_when_full_the_longest_idle_client_makes_room_but_never_too_soon() -> None:
    store = MemoryStore()
    store.limit(sessions_max=2)
    applied(store, put(b"a", b"1", by(1, 1)), time_ms=1)
    applied(store, put(b"a", b"1", by(2, 1)), time_ms=2)

    early_ms = SESSION_IDLE_MS_MIN
    [early] = applied(store, put(b"a", b"1", by(3, 1, issued_ms=early_ms)), time_ms=early_ms)
    assert (early.status, early.reason) == (REJECTED, "OVERLOADED")

    enough_ms = 2 + SESSION_IDLE_MS_MIN + sessions.TOUCH_MS
    [admitted] = applied(store, put(b"a", b"1", by(3, 1, issued_ms=enough_ms)), time_ms=enough_ms)
    assert admitted.status == APPLIED
    assert set(store.sessions) == {client(2), client(3)}
    assert {held[0] for held in store.results} == {client(2), client(3)}


@pytest.mark.parametrize(
    ("issued_ms", "is_new"),
    [
        (NOW_MS, True),
        (NOW_MS - CLIENT_AGE_MS_MAX, True),
        (NOW_MS - CLIENT_AGE_MS_MAX - 1, False),
        (NOW_MS + CLIENT_AHEAD_MS_MAX, True),
        (NOW_MS + CLIENT_AHEAD_MS_MAX + 1, False),
        (0, False),
        ((1 << 64) - 1, False),
    ],
)
def test_a_client_that_is_not_remembered_is_new_only_if_its_id_is_young(issued_ms: int, is_new: bool) -> None:
    store = MemoryStore()
    [outcome] = applied(store, put(b"a", b"1", by(1, 1, issued_ms=issued_ms)), time_ms=NOW_MS)

    assert (outcome.status, outcome.reason) == ((APPLIED, "") if is_new else (REJECTED, "SESSION_EXPIRED"))
    assert (store.revision, store.session_count()) == ((1, 1) if is_new else (0, 0))


def test_a_store_of_the_first_limits_takes_a_client_that_does_not_say_when_it_drew_its_id() -> None:
    store = MemoryStore()
    store.limits = FORMAT_LIMITS[1]
    [outcome] = applied(store, put(b"a", b"1", by(1, 1)), time_ms=NOW_MS)
    assert outcome.status == APPLIED


def test_idle_clients_are_forgotten_a_few_at_a_time() -> None:
    store = MemoryStore()
    for number in range(40):
        applied(store, put(b"a", b"1", by(number, 1)))
    late_ms = 2 + SESSION_IDLE_MS_MAX + sessions.TOUCH_MS

    applied(store, delete(b"x"), time_ms=late_ms - 1)
    assert store.session_count() == 40, "not idle for long enough"
    left = []
    for _ in range(4):
        applied(store, delete(b"x"), time_ms=late_ms)
        left.append(store.session_count())
    assert left == [24, 8, 0, 0]
    assert store.results == {}


def test_a_busy_client_is_touched_rarely_and_never_forgotten() -> None:
    store = MemoryStore()
    for step in range(200):
        time_ms = 1 + step * 30_000
        [outcome] = applied(store, put(b"a", b"1", by(1, step + 1)), time_ms=time_ms)
        assert outcome.status == APPLIED
        assert 0 <= time_ms - store.sessions[client(1)].last_used_ms <= sessions.TOUCH_MS


def test_a_forgotten_client_cannot_apply_an_old_write_again() -> None:
    store = MemoryStore()
    applied(store, put(b"a", b"1", by(1, 1)), put(b"a", b"1", by(1, 2)))
    applied(store, delete(b"x"), time_ms=2 + SESSION_IDLE_MS_MAX + sessions.TOUCH_MS)
    assert store.session_count() == 0
    [retry] = applied(store, put(b"a", b"1", by(1, 2)))

    assert (retry.status, retry.reason) == (REJECTED, "SESSION_EXPIRED")
    assert store.revision == 2


@pytest.mark.parametrize(
    "other",
    [
        put(b"a", b"2", by(1, 1)),
        put(b"b", b"1", by(1, 1)),
        delete(b"a", by(1, 1)),
        swap(b"a", b"1", 0, by(1, 1)),
        put(b"a1", b"", by(1, 1)),
        put(b"", b"a1", by(1, 1)),
    ],
    ids=["value", "key", "delete", "swap", "all in the key", "all in the value"],
)
def test_an_id_names_one_operation_and_another_one_under_it_changes_nothing(other: bytes) -> None:
    store = MemoryStore()
    [first] = applied(store, put(b"a", b"1", by(1, 1)))
    before = (dict(store.sessions), dict(store.results), store.revision)
    [refused] = applied(store, other)

    assert (refused.status, refused.reason, refused.duplicate) == (REJECTED, "WRITE_ID_REUSED", False)
    assert (store.sessions, store.results, store.revision) == before
    [retry] = applied(store, put(b"a", b"1", by(1, 1)))
    assert (retry.duplicate, retry.revision) == (True, first.revision)


def test_a_compare_and_set_is_bound_to_the_revision_that_it_expects() -> None:
    store = MemoryStore()
    applied(store, swap(b"a", b"1", 7, by(1, 1)))
    [other] = applied(store, swap(b"a", b"1", 0, by(1, 1)))

    assert other.reason == "WRITE_ID_REUSED"


def test_a_reused_id_releases_nothing() -> None:
    store = MemoryStore()
    applied(store, put(b"a", b"1", by(1, 1)), put(b"b", b"2", by(1, 2, oldest_pending=1)))
    applied(store, put(b"c", b"3", by(1, 2, oldest_pending=2)))
    [retry] = applied(store, put(b"a", b"1", by(1, 1)))

    assert (retry.duplicate, retry.status) == (True, APPLIED)


def test_the_greatest_sequence_ends_no_session() -> None:
    """One message of somebody who has learned the id: the client's own writes of that time go on."""
    store = MemoryStore()
    for sequence in range(1, 2 * SESSION_FLOOR_STEP_MAX, SESSION_RESULTS_MAX):
        applied(store, put(b"a", b"1", by(1, sequence)))
    floor = store.sessions[client(1)].floor
    [refused] = applied(store, put(b"x", b"x", by(1, (1 << 64) - 2)))

    assert refused.reason == "OVERLOADED"
    assert store.sessions[client(1)].floor == floor + SESSION_FLOOR_STEP_MAX
    [later] = applied(store, put(b"a", b"1", by(1, floor + SESSION_FLOOR_STEP_MAX)))
    assert later.status == APPLIED


@pytest.mark.parametrize("refused", [1, SESSION_RESULTS_MAX, 50_000, 1_000_000])
def test_a_client_whose_writes_were_refused_before_the_log_gets_through_within_a_try_for_each_step(
    refused: int,
) -> None:
    store = MemoryStore()
    applied(store, put(b"a", b"1", by(1, 1)))
    tries = 0
    while True:
        tries += 1
        [outcome] = applied(store, put(b"b", b"2", by(1, 1 + refused)))
        if outcome.status == APPLIED:
            break
        assert outcome.reason == "OVERLOADED", "a client tries again"
    assert tries <= 1 + refused // SESSION_FLOOR_STEP_MAX
    assert store.revision == 2
