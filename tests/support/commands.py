"""Commands, entries and turns that read as English."""

from replicator.machine.codec import encode_batch
from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.v1 import kv_pb2, store_pb2


def client(number: int) -> bytes:
    """A client id."""
    return number.to_bytes(16, "big")


def by(client_number: int, sequence: int, oldest_pending: int | None = None) -> kv_pb2.WriteId:
    """The write id of a client that waits for nothing older, unless told."""
    return kv_pb2.WriteId(
        client_id=client(client_number),
        sequence=sequence,
        oldest_pending=sequence if oldest_pending is None else oldest_pending,
    )


def put(key: bytes, value: bytes = b"v", write_id: kv_pb2.WriteId | None = None) -> bytes:
    operation = store_pb2.PutOperation(key=key, value=value)
    return store_pb2.Command(write_id=write_id, put=operation).SerializeToString()


def delete(key: bytes, write_id: kv_pb2.WriteId | None = None) -> bytes:
    return store_pb2.Command(write_id=write_id, delete=store_pb2.DeleteOperation(key=key)).SerializeToString()


def swap(key: bytes, value: bytes, expected_revision: int, write_id: kv_pb2.WriteId | None = None) -> bytes:
    operation = store_pb2.CompareAndSetOperation(key=key, value=value, expected_revision=expected_revision)
    return store_pb2.Command(write_id=write_id, compare_and_set=operation).SerializeToString()


def an_entry(index: int, *commands: bytes, time_ms: int = 1, term: int = 1) -> Entry:
    return Entry(encode_batch(time_ms, commands), LogIndex(index), Term(term))


def a_turn(*entries: Entry, commit_index: int | None = None, term: int = 1) -> TurnWrite:
    """Appends, commits and applies all of `entries` at once, as a cluster of one would."""
    last = entries[-1].index if entries else LogIndex(0)
    committed = last if commit_index is None else LogIndex(commit_index)
    return TurnWrite(
        append=entries,
        hard_state=HardState(Term(term), None, committed),
        apply=tuple(entry for entry in entries if entry.index <= committed),
    )
