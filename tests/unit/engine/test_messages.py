"""Whatever bytes a peer sends end in a message that a correct peer could have sent, or in Malformed; nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.engine.events import Frame, LinkUp
from replicator.engine.messages import Malformed, checked_entries, decode
from replicator.machine.codec import NO_OP_PAYLOAD, REGULAR_PREFIX
from replicator.v1 import raft_pb2
from tests.support.replicas import NAMES, HandCluster, HandNode

A, B, C = NAMES[:3]
U64 = st.one_of(st.integers(0, 5), st.integers(0, (1 << 63) - 1))
ENTRIES = st.lists(
    st.builds(raft_pb2.LogEntry, index=U64, term=U64, payload=st.sampled_from([b"", b"\x00", b"\x01", b"\x02x"])),
    max_size=4,
)
BODIES = st.one_of(
    st.builds(
        lambda **fields: raft_pb2.RaftMessage(append_entries=raft_pb2.AppendEntries(**fields)),
        term=U64, sequence=U64, prev_index=U64, prev_term=U64, commit_index=U64, entries=ENTRIES, quorum_age_ms=U64,
        echo_clock_ms=st.one_of(st.none(), U64),
    ),
    st.builds(
        lambda **fields: raft_pb2.RaftMessage(append_reply=raft_pb2.AppendReply(**fields)),
        term=U64, answers=U64, success=st.booleans(), rewind=st.booleans(), next_index=U64, clock_ms=U64,
    ),
    st.builds(lambda **fields: raft_pb2.RaftMessage(request_vote=raft_pb2.RequestVote(**fields)),
              term=U64, last_index=U64, last_term=U64),
    st.builds(lambda term: raft_pb2.RaftMessage(vote_reply=raft_pb2.VoteReply(term=term)), term=U64),
    st.builds(lambda **fields: raft_pb2.RaftMessage(pre_vote=raft_pb2.PreVote(**fields)),
              term=U64, last_index=U64, last_term=U64),
    st.builds(lambda **fields: raft_pb2.RaftMessage(pre_vote_reply=raft_pb2.PreVoteReply(**fields)),
              asked_term=U64, granted=st.booleans(), term=U64),
    st.builds(lambda term: raft_pb2.RaftMessage(stale_term=raft_pb2.StaleTerm(term=term)), term=U64),
    st.builds(lambda term: raft_pb2.RaftMessage(timeout_now=raft_pb2.TimeoutNow(term=term)), term=U64),
    st.builds(lambda **fields: raft_pb2.RaftMessage(forward_reply=raft_pb2.ForwardReply(**fields)),
              request_id=U64, outcome=st.binary(max_size=8)),
    st.builds(lambda **fields: raft_pb2.RaftMessage(read_index_reply=raft_pb2.ReadIndexReply(**fields)),
              request_id=U64, index=U64),
)  # fmt: skip


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


@given(body=BODIES)
@settings(deadline=None)
def test_a_message_comes_through_the_wire_unchanged(body: raft_pb2.RaftMessage) -> None:
    if body.WhichOneof("body") is not None:
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


@given(messages=st.lists(BODIES, min_size=1, max_size=6), leads=st.booleans())
@settings(deadline=None, max_examples=150)
def test_no_message_of_a_peer_stops_a_node_that_has_committed_nothing(
    messages: list[raft_pb2.RaftMessage], leads: bool
) -> None:
    """It is handled, ignored, or costs the peer its link. (Forged commits of a forged leader are beyond Raft.)"""
    if leads:
        node = HandCluster(3).elect_unheard(A)
        node.turn(LinkUp(B, 77))
    else:
        node = HandNode(A, [B, C])
        node.turn(LinkUp(B, 77))
    for message in messages:
        if message.WhichOneof("body") is None:
            continue
        if node.replica.link_epoch(B) is None:
            node.turn(LinkUp(B, 77))
        node.turn(Frame(B, 77, message.SerializeToString()))
