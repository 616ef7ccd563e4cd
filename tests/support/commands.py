"""Commands, entries and turns that read as English."""

from typing import NamedTuple

from replicator.client.transaction_messages import transaction_message
from replicator.machine.apply import apply_entry
from replicator.machine.codec import encode_entry
from replicator.machine.outcomes import outcome_at
from replicator.machine.store_port import StorePort
from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.model.transactions import Transaction
from replicator.model.values import KeyValue
from replicator.v1 import kv_pb2, store_pb2

Batch = store_pb2.CommandBatch


class Outcome(NamedTuple):
    """Of a batch of one command, flat."""

    status: int
    revision: int
    at_index: int
    current: KeyValue | None
    reason: str
    message: str
    duplicate: bool


def client(number: int) -> bytes:
    """A client id."""
    return number.to_bytes(16, "big")


def by(client_number: int, sequence: int, oldest_pending: int | None = None, issued_ms: int = 0) -> kv_pb2.WriteId:
    """The write id of a client that waits for nothing older, unless told. issued_ms: when it drew its id."""
    return kv_pb2.WriteId(
        client_id=client(client_number),
        sequence=sequence,
        oldest_pending=sequence if oldest_pending is None else oldest_pending,
        issued_ms=issued_ms,
    )


def put(key: bytes, value: bytes = b"v", write_id: kv_pb2.WriteId | None = None) -> bytes:
    return _sent(Batch(keys=[key], values=[value]), write_id)


def delete(key: bytes, write_id: kv_pb2.WriteId | None = None) -> bytes:
    return _sent(Batch(kinds=[Batch.KIND_DELETE], keys=[key]), write_id)


def swap(key: bytes, value: bytes, expected_revision: int, write_id: kv_pb2.WriteId | None = None) -> bytes:
    kinds = [Batch.KIND_COMPARE_AND_SET]
    return _sent(Batch(kinds=kinds, keys=[key], values=[value], expected_revisions=[expected_revision]), write_id)


def compact(revision: int) -> bytes:
    return _sent(Batch(kinds=[Batch.KIND_COMPACT], expected_revisions=[revision]), None)


def transact(transaction: Transaction, write_id: kv_pb2.WriteId | None = None) -> bytes:
    data = transaction_message(transaction).SerializeToString()
    return _sent(Batch(kinds=[Batch.KIND_TRANSACTION], transactions=[data]), write_id)


def together(*batches: bytes, write_id: kv_pb2.WriteId | None = None) -> bytes:
    """The commands of several batches as one batch."""
    whole = Batch()
    for data in batches:
        batch = Batch.FromString(data)
        whole.kinds.extend(batch.kinds or [Batch.KIND_PUT] * len(batch.keys))
        whole.keys.extend(batch.keys)
        whole.values.extend(batch.values)
        whole.expected_revisions.extend(batch.expected_revisions)
        whole.transactions.extend(batch.transactions)
    return _sent(whole, write_id)


def _sent(batch: store_pb2.CommandBatch, write_id: kv_pb2.WriteId | None) -> bytes:
    if write_id is not None:
        batch.client_id = write_id.client_id
        batch.first_sequence, batch.oldest_pending = write_id.sequence, write_id.oldest_pending
        batch.issued_ms = write_id.issued_ms
    return batch.SerializeToString()


def an_entry(index: int, *batches: bytes, time_ms: int = 1, term: int = 1) -> Entry:
    return Entry(encode_entry(time_ms, batches), LogIndex(index), Term(term))


def flat(outcome: store_pb2.BatchOutcome, position: int = 0) -> Outcome:
    """What a batch's outcome says of one command."""
    one = outcome_at(outcome, position)
    return Outcome(one.status, one.revision, outcome.index, one.current, one.reason, one.message, outcome.duplicate)


def applied(store: StorePort, *batches: bytes, time_ms: int = 1) -> list[Outcome]:
    """The outcomes of batches of one command each, applied as one entry."""
    entry = an_entry(store.applied_index + 1, *batches, time_ms=time_ms)
    return [flat(outcome) for outcome in apply_entry(store, entry)]


def a_turn(*entries: Entry, commit_index: int | None = None, term: int = 1) -> TurnWrite:
    """Appends, commits and applies all of `entries` at once, as a cluster of one would."""
    last = entries[-1].index if entries else LogIndex(0)
    committed = last if commit_index is None else LogIndex(commit_index)
    return TurnWrite(
        append=entries,
        hard_state=HardState(Term(term), None, committed),
        apply=tuple(entry for entry in entries if entry.index <= committed),
    )
