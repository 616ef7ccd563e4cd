"""Exactly once: a write is evaluated once per (client id, sequence), however often it reaches the log.

Invariants, per client:
- no result is held below `floor`; every held result has floor <= sequence < floor + SESSION_RESULTS_MAX, so there are
  at most SESSION_RESULTS_MAX; a sequence below the floor is never evaluated again;
- a remembered outcome is answered to the operation that it is of, by its digest; another one under the same id is told
  WRITE_ID_REUSED and changes nothing, the floor included;
- the floor never moves back, never beyond what the client says it waits for, and by SESSION_FLOOR_STEP_MAX at most for
  each command in the log, so that nobody who has learned a client id can end its sequences with one message.
A client that was forgotten can only come back as a new one: with oldest_pending > 1 it is told SESSION_EXPIRED.

Why the step is no limit that an honest client can run into: it claims to have released what the servers have never seen
only if that many of its writes, one after the other, were refused before they reached the log. After a run of more than
SESSION_FLOOR_STEP_MAX of them, its next write is OVERLOADED once for each step, which a client retries anyway: each
try moves the floor on, so a try gets through in the end, and nothing is evaluated before. What it costs an honest
client is one try for each 16,384 writes that nobody has taken.
"""

from typing import Final

from replicator.machine.digest import operation_digest
from replicator.machine.evaluate import COMPARE_FAILED, Frontier, evaluate, rejected
from replicator.machine.store_port import StorePort
from replicator.model.errors import InvalidArgument, Overloaded, SessionExpired, WriteIdReused
from replicator.model.ids import Revision
from replicator.model.limits import (
    CLIENT_ID_BYTES,
    SESSION_FLOOR_STEP_MAX,
    SESSION_IDLE_MS_MAX,
    SESSION_IDLE_MS_MIN,
    SESSION_RESULTS_MAX,
    SESSIONS_MAX,
)
from replicator.v1 import kv_pb2, store_pb2

TOUCH_MS: Final = (
    60_000  # last_used_ms lags by up to this, so that a busy client does not cost an index write each time
)
FORGOTTEN_PER_BATCH_MAX: Final = 16

_FIRST_SEQUENCE: Final = 1


def apply_once(store: StorePort, at: Frontier, command: store_pb2.Command) -> store_pb2.Outcome:
    """Evaluates a command that carries a write id, unless its result is remembered; remembers what it evaluates."""
    write_id, digest = command.write_id, operation_digest(command)
    problem = _write_id_problem(write_id)
    if problem is not None:
        return rejected(at, InvalidArgument.reason, problem)
    record = store.session(write_id.client_id)
    refusal = _admission_refusal(at, write_id, record)
    if refusal is not None:
        return refusal
    known = store.result(write_id.client_id, write_id.sequence) if record is not None and record.results else None
    if known is not None and known.operation_digest != digest:
        return _reused(at, write_id)
    if record is None:
        if not _make_room(store, at.time_ms):
            return rejected(at, Overloaded.reason, f"{SESSIONS_MAX} clients are remembered already; try again later")
        record = store_pb2.SessionRecord(floor=_FIRST_SEQUENCE, last_used_ms=at.time_ms)
    _release(store, write_id, record)
    if known is not None:
        outcome = _replayed(store, known.outcome)
    elif write_id.sequence >= record.floor + SESSION_RESULTS_MAX:
        outcome = _window_full(at, record.floor)
    else:
        outcome = evaluate(store, at, command)
        kept = store_pb2.StoredResult(outcome=_remembered(outcome), operation_digest=digest)
        store.put_result(write_id.client_id, write_id.sequence, kept)
        record.results += 1
    if at.time_ms - record.last_used_ms > TOUCH_MS:
        record.last_used_ms = at.time_ms
    store.put_session(write_id.client_id, record)
    return outcome


def _release(store: StorePort, write_id: kv_pb2.WriteId, record: store_pb2.SessionRecord) -> None:
    """Forgets what the client waits for no more, a bounded step at a time."""
    floor = min(write_id.oldest_pending, record.floor + SESSION_FLOOR_STEP_MAX)
    if floor > record.floor:
        if record.results:
            record.results -= store.drop_results(write_id.client_id, floor)
        record.floor = floor


def forget_idle(store: StorePort, time_ms: int) -> None:
    """Forgets up to FORGOTTEN_PER_BATCH_MAX clients that were idle for longer than SESSION_IDLE_MS_MAX."""
    if not _is_idle(store.oldest_sessions(1), time_ms, SESSION_IDLE_MS_MAX):
        return
    for last_used_ms, client_id in store.oldest_sessions(FORGOTTEN_PER_BATCH_MAX):
        if not _is_idle([(last_used_ms, client_id)], time_ms, SESSION_IDLE_MS_MAX):
            return
        store.delete_session(client_id)


def _write_id_problem(write_id: kv_pb2.WriteId) -> str | None:
    if len(write_id.client_id) != CLIENT_ID_BYTES:
        return f"write_id.client_id: {len(write_id.client_id)} bytes, must be {CLIENT_ID_BYTES}"
    if write_id.sequence < _FIRST_SEQUENCE:
        return "write_id.sequence: must be at least 1"
    if not _FIRST_SEQUENCE <= write_id.oldest_pending <= write_id.sequence:
        return f"write_id.oldest_pending: {write_id.oldest_pending}, must be 1 to sequence ({write_id.sequence})"
    return None


def _admission_refusal(
    at: Frontier, write_id: kv_pb2.WriteId, record: store_pb2.SessionRecord | None
) -> store_pb2.Outcome | None:
    """What a write gets whose fate is decided before anything of its client changes; None if it may go on."""
    if record is None:
        if write_id.oldest_pending > _FIRST_SEQUENCE:
            return rejected(
                at, SessionExpired.reason, "this client id is not remembered (idle too long); use a new one"
            )
        if write_id.sequence >= _FIRST_SEQUENCE + SESSION_RESULTS_MAX:
            return _window_full(at, _FIRST_SEQUENCE)
    elif write_id.sequence < record.floor:
        message = f"the result of sequence {write_id.sequence} was released already (oldest pending: {record.floor})"
        return rejected(at, SessionExpired.reason, message)
    return None


def _reused(at: Frontier, write_id: kv_pb2.WriteId) -> store_pb2.Outcome:
    message = (
        f"another operation was evaluated under sequence {write_id.sequence} of this client id, and this one was not: "
        "a write keeps its id and its content in every retry, and a client id belongs to one client"
    )
    return rejected(at, WriteIdReused.reason, message)


def _window_full(at: Frontier, floor: int) -> store_pb2.Outcome:
    message = (
        f"{SESSION_RESULTS_MAX} results are remembered for this client from sequence {floor} on; finish older writes"
    )
    return rejected(at, Overloaded.reason, message)


def _make_room(store: StorePort, time_ms: int) -> bool:
    """True if one more client may be remembered, forgetting the longest idle one if that is needed and allowed."""
    if store.session_count() < SESSIONS_MAX:
        return True
    oldest = store.oldest_sessions(1)
    if not _is_idle(oldest, time_ms, SESSION_IDLE_MS_MIN):
        return False
    store.delete_session(oldest[0][1])
    return True


def _is_idle(oldest: list[tuple[int, bytes]], time_ms: int, idle_ms: int) -> bool:
    """True if the first of `oldest` was idle for more than idle_ms, however late its last use was noted."""
    return bool(oldest) and time_ms - oldest[0][0] > idle_ms + TOUCH_MS


def _remembered(outcome: store_pb2.Outcome) -> store_pb2.Outcome:
    """What is kept of an outcome: all but the value found, which the events hold anyway."""
    if outcome.status != COMPARE_FAILED or not outcome.HasField("current"):
        return outcome
    kept = store_pb2.Outcome()
    kept.CopyFrom(outcome)
    kept.current.ClearField("key")
    kept.current.ClearField("value")
    return kept


def _replayed(store: StorePort, kept: store_pb2.Outcome) -> store_pb2.Outcome:
    outcome = store_pb2.Outcome()
    outcome.CopyFrom(kept)
    outcome.duplicate = True
    if outcome.HasField("current"):
        event = store.event_at(Revision(outcome.current.mod_revision))
        if event is not None:
            outcome.current.key = event.key
            outcome.current.value = event.value
    return outcome
