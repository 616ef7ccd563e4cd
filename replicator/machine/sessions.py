"""Exactly once: a batch is evaluated once per (client id, first sequence), however often it reaches the log.

Invariants, per client:
- no outcome is held below `floor`; every held batch lies in [floor, floor + session_results_max), and no two overlap;
  a sequence below the floor, or of a held batch, is never evaluated again;
- a remembered outcome is answered to the batch that it is of: the same first sequence, length and digest. Another one
  that has a sequence in common with it is told WRITE_ID_REUSED and changes nothing, the floor included;
- a remembered outcome is whole, so an answer that is repeated does not depend on what the store holds by then;
- the floor never moves back, never into a held batch, never beyond what the client says it waits for, and by
  session_floor_step_max at most for each batch in the log, so that nobody who has learned a client id can end its
  sequences with one message.
A client that was forgotten is never taken for a new one, or its retry would be evaluated a second time. One that is not
remembered is new only if it has released nothing, and its id was drawn within client_age_ms_max, by log time. Else it
is told SESSION_EXPIRED. Why that is enough: an id is first taken when it was drawn no more than client_ahead_ms_max
after now, and is remembered from then on until it was idle for session_idle_ms_min + TOUCH_MS, which is at least
client_age_ms_max + client_ahead_ms_max. So once it is forgotten, its id is too old to be new.

Why the step is no limit that an honest client can run into: it claims to have released what the servers have never seen
only if that many of its writes, one after the other, were refused before they reached the log. After a run of more than
session_floor_step_max of them, its next write is OVERLOADED once for each step, which a client retries anyway: each
try moves the floor on, so a try gets through in the end, and nothing is evaluated before. What it costs an honest
client is one try for each 16,384 writes that nobody has taken.
"""

from typing import Final

from replicator.machine.digest import batch_digest
from replicator.machine.evaluate import count_of, evaluate, shape_problem
from replicator.machine.frontier import Frontier
from replicator.machine.outcomes import refused
from replicator.machine.store_port import KeptResult, Session, StorePort
from replicator.model.errors import InvalidArgument, Overloaded, SessionExpired, WriteIdReused
from replicator.model.limits import FORMAT_LIMITS, FormatLimits
from replicator.v1 import store_pb2

TOUCH_MS: Final = (
    60_000  # last_used_ms lags by up to this, so that a busy client does not cost an index write each time
)
FORGOTTEN_PER_ENTRY_MAX: Final = 16

assert all(
    limits.client_age_ms_max + limits.client_ahead_ms_max <= limits.session_idle_ms_min + TOUCH_MS
    for number, limits in FORMAT_LIMITS.items()
    if number > 1  # whose clients did not say when they drew their ids
), "a client could be forgotten while its id may still be new"

_FIRST_SEQUENCE: Final = 1
_SEQUENCE_MAX: Final = (1 << 64) - 2


def apply_once(store: StorePort, at: Frontier, batch: store_pb2.CommandBatch) -> store_pb2.BatchOutcome:
    """Evaluates a batch that carries a session, unless its outcome is remembered; remembers what it evaluates."""
    limits, client_id, first = store.limits, batch.client_id, batch.first_sequence
    problem = _session_problem(batch, limits) or shape_problem(batch, limits)
    if problem is not None:
        return refused(at.index, InvalidArgument.reason, problem)
    count, digest = count_of(batch), batch_digest(batch)
    session = store.session(client_id)
    refusal = _admission_refusal(at, batch, session, limits)
    if refusal is not None:
        return refusal
    known: KeptResult | None = None
    if session is not None and first < session.next_sequence:
        low = max(session.floor, first - limits.batch_commands_max + 1)
        overlapping = [
            (held, kept)
            for held, kept in store.results_between(client_id, low, first + count)
            if held + kept.commands > first
        ]
        if overlapping:
            held, known = overlapping[0]
            if (held, known.commands, known.digest) != (first, count, digest):
                return _reused(at, batch)
    if session is None:
        if not _make_room(store, at.time_ms):
            message = f"{limits.sessions_max} clients are remembered already; try again later"
            return refused(at.index, Overloaded.reason, message)
        session = Session(_FIRST_SEQUENCE, _FIRST_SEQUENCE, at.time_ms, 0, 0)
    session = _released(store, batch, session, limits)
    if known is not None:
        outcome = store_pb2.BatchOutcome.FromString(known.outcome)
        outcome.duplicate = True
    elif first + count > session.floor + limits.session_results_max:
        outcome = _window_full(at, session.floor, limits)
    elif session.kept_bytes >= limits.session_kept_bytes_max:
        message = f"{session.kept_bytes} bytes of outcomes are remembered for this client; finish older writes"
        outcome = refused(at.index, Overloaded.reason, message)
    else:
        outcome = evaluate(store, at, batch)
        kept = outcome.SerializeToString()
        store.put_result(client_id, first, KeptResult(count, digest, kept))
        session = session._replace(
            next_sequence=max(session.next_sequence, first + count),
            results=session.results + 1,
            kept_bytes=session.kept_bytes + len(kept),
        )
    if at.time_ms - session.last_used_ms > TOUCH_MS:
        session = session._replace(last_used_ms=at.time_ms)
    store.put_session(client_id, session)
    return outcome


def _released(store: StorePort, batch: store_pb2.CommandBatch, session: Session, limits: FormatLimits) -> Session:
    """Forgets what the client waits for no more, whole batches only, a bounded step at a time."""
    floor = min(batch.oldest_pending, session.floor + limits.session_floor_step_max)
    if floor <= session.floor:
        return session
    results, kept_bytes = session.results, session.kept_bytes
    if results:
        for first, kept in store.results_between(batch.client_id, session.floor, floor):
            if first + kept.commands > floor:  # the last one; the client still waits for a part of it
                floor = first
                break
            store.delete_result(batch.client_id, first)
            results -= 1
            kept_bytes -= len(kept.outcome)
    return session._replace(
        floor=floor, next_sequence=max(floor, session.next_sequence), results=results, kept_bytes=kept_bytes
    )


def forget_idle(store: StorePort, time_ms: int) -> None:
    """Forgets up to FORGOTTEN_PER_ENTRY_MAX clients that were idle for longer than session_idle_ms_max."""
    idle_ms = store.limits.session_idle_ms_max
    if not store.may_be_idle_since(time_ms - idle_ms - TOUCH_MS):
        return
    for last_used_ms, client_id in store.oldest_sessions(FORGOTTEN_PER_ENTRY_MAX):
        if not _is_idle([(last_used_ms, client_id)], time_ms, idle_ms):
            return
        store.delete_session(client_id)


def _session_problem(batch: store_pb2.CommandBatch, limits: FormatLimits) -> str | None:
    if len(batch.client_id) != limits.client_id_bytes:
        return f"client_id: {len(batch.client_id)} bytes, must be {limits.client_id_bytes}"
    if batch.first_sequence < _FIRST_SEQUENCE:
        return "first_sequence: must be at least 1"
    if batch.first_sequence + count_of(batch) - 1 > _SEQUENCE_MAX:
        return f"first_sequence: {batch.first_sequence}, the last sequence must be at most {_SEQUENCE_MAX}"
    if not _FIRST_SEQUENCE <= batch.oldest_pending <= batch.first_sequence:
        return f"oldest_pending: {batch.oldest_pending}, must be 1 to first_sequence ({batch.first_sequence})"
    return None


def _admission_refusal(
    at: Frontier, batch: store_pb2.CommandBatch, session: Session | None, limits: FormatLimits
) -> store_pb2.BatchOutcome | None:
    """What a batch gets whose fate is decided before anything of its client changes; None if it may go on."""
    first = batch.first_sequence
    if session is None:
        why_not_new = _why_not_new(at, batch, limits)
        if why_not_new:
            return refused(at.index, SessionExpired.reason, f"this client id is not remembered, {why_not_new}")
        if first + count_of(batch) > _FIRST_SEQUENCE + limits.session_results_max:
            return _window_full(at, _FIRST_SEQUENCE, limits)
    elif first < session.floor:
        message = f"the result of sequence {first} was released already (oldest pending: {session.floor})"
        return refused(at.index, SessionExpired.reason, message)
    return None


def _why_not_new(at: Frontier, batch: store_pb2.CommandBatch, limits: FormatLimits) -> str:
    """Why a client that is not remembered may be one that was forgotten; empty if it is new."""
    if batch.oldest_pending > _FIRST_SEQUENCE:
        return "and had writes before; draw a new one"
    age_ms = at.time_ms - batch.issued_ms
    if age_ms > limits.client_age_ms_max:
        age = f"{age_ms / 1000:.0f} s ago; a new one is taken for {limits.client_age_ms_max // 1000} s"
        return f"and was drawn {age}, so it may have been forgotten; draw a new one"
    if age_ms < -limits.client_ahead_ms_max:
        return f"and was drawn {-age_ms / 1000:.0f} s ahead of the group's time; draw a new one"
    return ""


def _reused(at: Frontier, batch: store_pb2.CommandBatch) -> store_pb2.BatchOutcome:
    message = (
        f"another batch was evaluated under sequences from {batch.first_sequence} on of this client id, and this one "
        "was not: a batch keeps its sequences and its content in every retry, and a client id belongs to one client"
    )
    return refused(at.index, WriteIdReused.reason, message)


def _window_full(at: Frontier, floor: int, limits: FormatLimits) -> store_pb2.BatchOutcome:
    message = (
        f"{limits.session_results_max} sequences are answered for at a time, for this client from {floor} on; finish "
        "older writes"
    )
    return refused(at.index, Overloaded.reason, message)


def _make_room(store: StorePort, time_ms: int) -> bool:
    """True if one more client may be remembered, forgetting the longest idle one if that is needed and allowed."""
    if store.session_count() < store.limits.sessions_max:
        return True
    oldest = store.oldest_sessions(1)
    if not _is_idle(oldest, time_ms, store.limits.session_idle_ms_min):
        return False
    store.delete_session(oldest[0][1])
    return True


def _is_idle(oldest: list[tuple[int, bytes]], time_ms: int, idle_ms: int) -> bool:
    """True if the first of `oldest` was idle for more than idle_ms, however late its last use was noted."""
    return bool(oldest) and time_ms - oldest[0][0] > idle_ms + TOUCH_MS
