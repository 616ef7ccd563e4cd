"""What one command does to the store, exactly-once aside."""

from dataclasses import dataclass
from typing import Final

from replicator.machine.store_port import StorePort
from replicator.model.errors import InvalidArgument
from replicator.model.ids import LogIndex, Revision
from replicator.model.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX
from replicator.v1 import kv_pb2, store_pb2

APPLIED: Final = store_pb2.Outcome.STATUS_APPLIED
UNCHANGED: Final = store_pb2.Outcome.STATUS_UNCHANGED
COMPARE_FAILED: Final = store_pb2.Outcome.STATUS_COMPARE_FAILED
REJECTED: Final = store_pb2.Outcome.STATUS_REJECTED


@dataclass(slots=True)
class Frontier:
    """Where the store stands between two commands of one entry. Moves forward only."""

    index: LogIndex
    time_ms: int
    revision: Revision
    live_keys: int


def rejected(at: Frontier, reason: str, message: str) -> store_pb2.Outcome:
    """The outcome of a command that changes nothing, ever."""
    return store_pb2.Outcome(status=REJECTED, revision=at.revision, index=at.index, reason=reason, message=message)


def evaluate(store: StorePort, at: Frontier, command: store_pb2.Command) -> store_pb2.Outcome:
    """Applies one command and moves `at`. Total: whatever the command says, there is an outcome."""
    operation = command.WhichOneof("operation")
    if operation == "put":
        problem = _key_problem(command.put.key) or _value_problem(command.put.value)
        if problem is None:
            return _put(store, at, command.put.key, command.put.value)
    elif operation == "delete":
        problem = _key_problem(command.delete.key)
        if problem is None:
            return _delete(store, at, command.delete.key)
    elif operation == "compare_and_set":
        swap = command.compare_and_set
        problem = _key_problem(swap.key) or _value_problem(swap.value)
        if problem is None:
            return _compare_and_set(store, at, swap)
    else:
        problem = "the command holds no operation that this release knows"
    return rejected(at, InvalidArgument.reason, problem)


def _key_problem(key: bytes) -> str | None:
    if 1 <= len(key) <= KEY_BYTES_MAX:
        return None
    return f"key: {len(key)} bytes, must be 1 to {KEY_BYTES_MAX}"


def _value_problem(value: bytes) -> str | None:
    if len(value) <= VALUE_BYTES_MAX:
        return None
    return f"value: {len(value)} bytes, must be at most {VALUE_BYTES_MAX}"


def _put(store: StorePort, at: Frontier, key: bytes, value: bytes) -> store_pb2.Outcome:
    return _write(store, at, key, value, store.latest(key))


def _write(
    store: StorePort, at: Frontier, key: bytes, value: bytes, latest: tuple[Revision, store_pb2.StoredEvent] | None
) -> store_pb2.Outcome:
    revision = Revision(at.revision + 1)
    if latest is None or latest[1].deleted:
        create_revision, version = int(revision), 1
        at.live_keys += 1
    else:
        create_revision, version = latest[1].create_revision, latest[1].version + 1
    event = store_pb2.StoredEvent(
        key=key, value=value, create_revision=create_revision, version=version, time_ms=at.time_ms
    )
    store.put_event(revision, event)
    at.revision = revision
    return store_pb2.Outcome(status=APPLIED, revision=revision, index=at.index)


def _delete(store: StorePort, at: Frontier, key: bytes) -> store_pb2.Outcome:
    latest = store.latest(key)
    if latest is None or latest[1].deleted:
        return store_pb2.Outcome(status=UNCHANGED, revision=at.revision, index=at.index)
    revision = Revision(at.revision + 1)
    store.put_event(revision, store_pb2.StoredEvent(key=key, deleted=True, time_ms=at.time_ms))
    at.revision = revision
    at.live_keys -= 1
    assert at.live_keys >= 0, at
    return store_pb2.Outcome(status=APPLIED, revision=revision, index=at.index)


def _compare_and_set(store: StorePort, at: Frontier, swap: store_pb2.CompareAndSetOperation) -> store_pb2.Outcome:
    latest = store.latest(swap.key)
    live = latest if latest is not None and not latest[1].deleted else None
    if swap.expected_revision == (live[0] if live is not None else 0):
        return _write(store, at, swap.key, swap.value, latest)
    outcome = store_pb2.Outcome(status=COMPARE_FAILED, revision=at.revision, index=at.index)
    if live is not None:
        outcome.current.CopyFrom(key_value(live[0], live[1]))
    return outcome


def key_value(revision: Revision, event: store_pb2.StoredEvent) -> kv_pb2.KeyValue:
    """The pair that a live event left behind."""
    return kv_pb2.KeyValue(
        key=event.key,
        value=event.value,
        create_revision=event.create_revision,
        mod_revision=revision,
        version=event.version,
    )
