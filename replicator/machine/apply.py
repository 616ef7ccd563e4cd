"""Applies one committed entry to the store. Same store and entry, same outcomes, on every node."""

from replicator.machine.codec import REGULAR, decode_batch, decode_command, is_group_change, is_no_op
from replicator.machine.digest import rolling_hash
from replicator.machine.evaluate import APPLIED, Frontier, evaluate, rejected
from replicator.machine.group_entries import decode_group_change
from replicator.machine.sessions import apply_once, forget_idle
from replicator.machine.store_port import StorePort
from replicator.model.errors import InvalidArgument
from replicator.model.limits import LOG_TIME_MS_MAX
from replicator.model.log import Entry
from replicator.v1 import store_pb2


def apply_entry(store: StorePort, entry: Entry) -> list[store_pb2.Outcome]:
    """One outcome per command of the entry, in order; the store's position moves to the entry, whatever it holds.

    A no-op has no outcomes, a change of the group has one. An entry that cannot be read at all has one, REJECTED, and
    changes nothing else.
    Raises nothing for any payload; an entry out of turn is a caller's bug.
    """
    assert entry.index == store.applied_index + 1, (entry.index, store.applied_index)
    at = Frontier(entry.index, store.time_ms, store.revision, store.live_keys)
    if is_no_op(entry.payload):
        outcomes = []
    elif is_group_change(entry.payload):
        outcomes = [_apply_group_change(store, at, entry)]
    else:
        outcomes = _apply_batch(store, at, entry.payload)
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


def _apply_batch(store: StorePort, at: Frontier, payload: bytes) -> list[store_pb2.Outcome]:
    batch = decode_batch(payload)
    if batch is None:
        kind = f"0x{payload[0]:02x}" if payload else "nothing"
        message = f"the entry does not decode: it begins with {kind}, a batch with 0x{REGULAR:02x}"
        return [rejected(at, InvalidArgument.reason, message)]
    if batch.time_ms <= LOG_TIME_MS_MAX:  # no leader writes more: a forged one would stop every later leader
        at.time_ms = max(at.time_ms, batch.time_ms)
    forget_idle(store, at.time_ms)
    return [_apply_command(store, at, data) for data in batch.commands]


def _apply_group_change(store: StorePort, at: Frontier, entry: Entry) -> store_pb2.Outcome:
    change = decode_group_change(entry.payload)
    if change is None:
        return rejected(at, InvalidArgument.reason, "the change of the group does not decode")
    if change.HasField("membership"):
        change.membership.index = entry.index
        store.set_membership(change.membership)
    else:
        store.set_timing(change.timing)
    return store_pb2.Outcome(status=APPLIED, revision=at.revision, index=at.index)


def _apply_command(store: StorePort, at: Frontier, data: bytes) -> store_pb2.Outcome:
    command = decode_command(data)
    if command is None:
        return rejected(at, InvalidArgument.reason, "the command does not decode")
    if command.HasField("write_id"):
        return apply_once(store, at, command)
    return evaluate(store, at, command)
