"""Applies one committed entry to the store. Same store and entry, same outcomes, on every node."""

from replicator.machine.codec import REGULAR, decode_batch, decode_entry, is_group_change, is_no_op
from replicator.machine.digest import rolling_hash
from replicator.machine.evaluate import evaluate, shape_problem
from replicator.machine.frontier import Frontier
from replicator.machine.group_entries import decode_group_change
from replicator.machine.outcomes import refused
from replicator.machine.sessions import apply_once, forget_idle
from replicator.machine.store_port import StorePort
from replicator.model.errors import InvalidArgument
from replicator.model.limits import LOG_TIME_MS_MAX
from replicator.model.log import Entry
from replicator.v1 import store_pb2


def apply_entry(store: StorePort, entry: Entry) -> list[store_pb2.BatchOutcome]:
    """One outcome per batch of the entry, in order; the store's position moves to the entry, whatever it holds.

    A no-op has no outcomes, a change of the group has one, without a row. An entry that cannot be read at all has one,
    refused, and changes nothing else.
    Raises nothing for any payload; an entry out of turn is a caller's bug.
    """
    assert entry.index == store.applied_index + 1, (entry.index, store.applied_index)
    at = Frontier(entry.index, store.time_ms, store.revision, store.live_keys)
    if is_no_op(entry.payload):
        outcomes = []
    elif is_group_change(entry.payload):
        outcomes = [_apply_group_change(store, entry)]
    else:
        outcomes = _apply_batches(store, at, entry.payload)
    assert at.revision >= store.revision, "a revision never moves back"
    assert at.time_ms >= store.time_ms, "log time never moves back"
    store.set_position(
        applied_index=entry.index,
        revision=at.revision,
        live_keys=at.live_keys,
        time_ms=at.time_ms,
        rolling_hash=rolling_hash(store.rolling_hash, entry, outcomes),
    )
    return outcomes


def _apply_batches(store: StorePort, at: Frontier, payload: bytes) -> list[store_pb2.BatchOutcome]:
    entry = decode_entry(payload)
    if entry is None:
        kind = f"0x{payload[0]:02x}" if payload else "nothing"
        message = f"the entry does not decode: it begins with {kind}, one of batches with 0x{REGULAR:02x}"
        return [refused(at.index, InvalidArgument.reason, message)]
    if entry.time_ms <= LOG_TIME_MS_MAX:  # no leader writes more: a forged one would stop every later leader
        at.time_ms = max(at.time_ms, entry.time_ms)
    forget_idle(store, at.time_ms)
    return [_apply_batch(store, at, data) for data in entry.batches]


def _apply_batch(store: StorePort, at: Frontier, data: bytes) -> store_pb2.BatchOutcome:
    batch = decode_batch(data)
    if batch is None:
        return refused(at.index, InvalidArgument.reason, "the batch does not decode")
    if batch.client_id or batch.first_sequence or batch.oldest_pending:
        return apply_once(store, at, batch)
    problem = shape_problem(batch, store.limits)
    if problem is not None:
        return refused(at.index, InvalidArgument.reason, problem)
    return evaluate(store, at, batch)


def _apply_group_change(store: StorePort, entry: Entry) -> store_pb2.BatchOutcome:
    change = decode_group_change(entry.payload)
    if change is None:
        return refused(entry.index, InvalidArgument.reason, "the change of the group does not decode")
    if change.HasField("membership"):
        change.membership.index = entry.index
        store.set_membership(change.membership)
    else:
        store.set_timing(change.timing)
    return store_pb2.BatchOutcome(index=entry.index)
