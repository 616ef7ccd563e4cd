"""Whatever bytes a peer sends end in a message that a correct peer could have sent, or in Malformed; nothing else."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.engine.raft.message_bounds import Malformed
from replicator.engine.raft.messages import checked_entries, decode
from replicator.machine.codec import NO_OP_PAYLOAD, REGULAR_PREFIX
from replicator.v1 import raft_pb2
from tests.support.forged import FORGED


def an_append(*places: tuple[int, int], prev: tuple[int, int] = (3, 2), term: int = 5) -> raft_pb2.AppendEntries:
    return raft_pb2.AppendEntries(
        term=term,
        sequence=1,
        prev_index=prev[0],
        prev_term=prev[1],
        entries=[raft_pb2.LogEntry(index=i, term=t, payload=REGULAR_PREFIX) for i, t in places],
    )


@given(frame=st.binary(max_size=200))
@settings(deadline=None)
def test_arbitrary_bytes_decode_or_are_malformed(frame: bytes) -> None:
    try:
        message = decode(frame)
    except Malformed:
        return
    assert message.WhichOneof("body") is not None


@pytest.mark.parametrize("frame", [b"", b"\x0a", b"\xff" * 20])
def test_what_is_no_message_is_malformed(frame: bytes) -> None:
    with pytest.raises(Malformed):
        decode(frame)


@given(body=FORGED)
@settings(deadline=None)
def test_a_message_comes_through_the_wire_unchanged_or_not_at_all(body: raft_pb2.RaftMessage) -> None:
    with contextlib.suppress(Malformed):
        assert decode(body.SerializeToString()) == body


def test_entries_come_out_as_they_went_in() -> None:
    append = an_append((4, 2), (5, 5))

    assert [(entry.index, entry.term, entry.payload) for entry in checked_entries(append)] == [
        (4, 2, REGULAR_PREFIX), (5, 5, REGULAR_PREFIX)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "append",
    [
        pytest.param(an_append((5, 2)), id="a gap after the previous entry"),
        pytest.param(an_append((3, 2)), id="an overlap with the previous entry"),
        pytest.param(an_append((4, 2), (6, 2)), id="a gap between entries"),
        pytest.param(an_append((4, 1)), id="a term that falls"),
        pytest.param(an_append((4, 3), (5, 2)), id="a term that falls between entries"),
        pytest.param(an_append((4, 6)), id="an entry of a later term than its leader's"),
        pytest.param(an_append(prev=(0, 0)), id="an append before the first entry"),
        pytest.param(an_append(prev=(3, 6)), id="a previous entry of a later term"),
    ],
)
def test_an_append_that_no_correct_leader_sends_is_refused(append: raft_pb2.AppendEntries) -> None:
    with pytest.raises(Malformed):
        checked_entries(append)


@pytest.mark.parametrize("payload", [b"", b"\x03version", b"\x7fpickle"])
def test_an_entry_of_a_kind_that_this_engine_does_not_know_is_refused(payload: bytes) -> None:
    """Stock would unpickle membership and version entries; an older release must not skip what it cannot read."""
    append = an_append((4, 2))
    append.entries[0].payload = payload
    with pytest.raises(Malformed, match="unknown kind"):
        checked_entries(append)


def test_an_append_without_a_number_is_refused() -> None:
    append = an_append()
    append.sequence = 0
    with pytest.raises(Malformed):
        checked_entries(append)


def test_the_no_op_of_a_new_leader_is_a_known_kind() -> None:
    append = an_append((4, 2))
    append.entries[0].payload = NO_OP_PAYLOAD
    assert len(checked_entries(append)) == 1
