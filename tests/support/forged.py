"""Messages that no correct peer sends, and what must hold of a node that takes one, whatever it says.

The messages are made from the descriptors of raft.proto, so a new field is forged as soon as it is there.
"""

from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st

from replicator.engine.events import Turn
from replicator.engine.raft.messages import decode
from replicator.machine.codec import GROUP_CHANGE_PREFIX, NO_OP_PAYLOAD, REGULAR_PREFIX
from replicator.model.limits import INDEX_MAX, TERM_MAX
from replicator.v1 import raft_pb2, store_pb2
from tests.support.replicas import HandNode

_LONG_TIMERS = store_pb2.Timing(
    heartbeat_ms=1 << 29, election_timeout_min_ms=1 << 31, election_timeout_max_ms=(1 << 32) - 1
)
PAYLOADS = st.sampled_from(
    [
        b"", REGULAR_PREFIX, NO_OP_PAYLOAD, GROUP_CHANGE_PREFIX + b"x", b"\x03version", REGULAR_PREFIX + b"x" * 40,
        GROUP_CHANGE_PREFIX + store_pb2.GroupChange(timing=_LONG_TIMERS).SerializeToString(),
    ]
)  # fmt: skip
EXTREMES = st.sampled_from(
    [TERM_MAX - 1, TERM_MAX, TERM_MAX + 1, INDEX_MAX, INDEX_MAX + 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1]
)
NUMBERS = st.one_of(st.integers(0, 12), EXTREMES)
NAMES = st.sampled_from(["n1", "n2", "n3", "n9", "", "No Name", "a\nb", "x" * 5000])


def messages_of(descriptor: Descriptor) -> st.SearchStrategy[dict[str, Any]]:
    """Any values for any of its fields."""
    fields = {field.name: _values(field) for field in descriptor.fields if field.containing_oneof is None}
    chosen = [st.fixed_dictionaries({}, optional=fields)]
    for group in descriptor.oneofs:
        one_of = [st.fixed_dictionaries({field.name: _values(field)}) for field in group.fields]
        chosen.append(st.one_of(st.just({}), *one_of))
    return st.tuples(*chosen).map(lambda parts: {name: value for part in parts for name, value in part.items()})


def _values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    values: st.SearchStrategy[Any]
    if field.message_type is not None:
        values = messages_of(field.message_type)
    elif field.type == field.TYPE_BOOL:
        values = st.booleans()
    elif field.type == field.TYPE_STRING:
        values = NAMES
    elif field.type == field.TYPE_BYTES:
        values = PAYLOADS | st.sampled_from([bytes(16), bytes(32)])
    elif field.type == field.TYPE_ENUM:
        values = st.integers(0, 5)
    else:
        values = NUMBERS.map(lambda number: number & 0xFFFFFFFF) if field.type == field.TYPE_UINT32 else NUMBERS
    return st.lists(values, max_size=3) if field.is_repeated else values


def _append(fields: dict[str, Any], terms: list[int], payloads: list[bytes]) -> dict[str, Any]:
    """Entries that follow each other, so that it is the numbers that decide."""
    first = fields["prev_index"] + 1
    entries = [
        {"index": index & ((1 << 64) - 1), "term": term, "payload": payload}
        for index, (term, payload) in enumerate(zip(sorted(terms), payloads, strict=False), start=first)
    ]
    return {"append_entries": {**fields, "entries": entries}}


SMALL = st.integers(0, 6)
APPENDS = st.builds(
    _append,
    st.fixed_dictionaries(
        {"term": SMALL | EXTREMES, "sequence": st.just(1), "prev_index": SMALL, "prev_term": SMALL,
         "commit_index": NUMBERS},
        optional={"echo_clock_ms": NUMBERS, "quorum_age_ms": NUMBERS},
    ),
    st.lists(SMALL | EXTREMES, max_size=4),
    st.lists(PAYLOADS, min_size=4, max_size=4),
)  # fmt: skip
FORGED = st.one_of(APPENDS, messages_of(raft_pb2.RaftMessage.DESCRIPTOR)).map(
    lambda fields: raft_pb2.RaftMessage(**fields)
)


@dataclass
class Bounds:
    """What a node may keep and say; `check` after each turn."""

    node: HandNode
    term: int = 0
    commit_index: int = 0

    def check(self, turn: Turn, said: raft_pb2.RaftMessage | None) -> None:
        """said: what the turn has taken. AssertionError names what must not be."""
        graft, write = self.node.replica.graft, turn.write
        assert self.term <= graft.term <= TERM_MAX, "a term is kept that no group reaches"
        assert graft.term in (self.term, self.term + 1) or graft.term in _terms(said), "a term that nobody has named"
        assert self.commit_index <= graft.commit_index <= self.node.replica.journal.last_index <= INDEX_MAX
        if write.hard_state is not None:
            assert write.hard_state.term <= TERM_MAX
            assert write.hard_state.commit_index <= INDEX_MAX
        for entry in write.append:
            assert (entry.index <= INDEX_MAX, entry.term <= graft.term) == (True, True), entry
        assert write.truncate_from is None or write.truncate_from > self.commit_index
        if graft.commit_index > self.commit_index and said is not None:
            assert said.WhichOneof("body") in ("append_entries", "append_reply"), "committed by another message"
        for out in (*turn.early_frames, *turn.frames):
            decode(out.payload)  # what this node says is within the same bounds
        self.term, self.commit_index = graft.term, graft.commit_index


def _terms(said: raft_pb2.RaftMessage | None) -> list[int]:
    body = said.WhichOneof("body") if said is not None else None
    return [getattr(getattr(said, body), "term", 0)] if body is not None else []
