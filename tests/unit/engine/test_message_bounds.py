"""Each number, name, text and length of a message has a bound, and what is beyond it ends the link that brought it."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from replicator.engine.leading.proposals import ENTRY_BYTES_MAX
from replicator.engine.raft.message_bounds import (
    APPEND_BYTES_MAX,
    CLOCK_MS_MAX,
    COMMAND_BYTES_MAX,
    COUNTER_MAX,
    ENTRY_COUNT_MAX,
    GREATEST,
    PAYLOAD_BYTES_MAX,
    SNAPSHOT_BYTES_MAX,
    TEXT_CHARS_MAX,
    TRANSFER_MS_MAX,
    Malformed,
    plain_text,
)
from replicator.engine.raft.messages import checked_entries, decode, encode, snapshot_refused
from replicator.engine.settings import EngineSettings
from replicator.machine.codec import REGULAR_PREFIX
from replicator.model.ids import GROUP_ID, NodeId, Term
from replicator.model.limits import INDEX_MAX, TERM_MAX
from replicator.transport.ports import FRAME_BYTES_MAX
from replicator.v1 import raft_pb2, store_pb2

NUMBER_TYPES = (FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_UINT32)
AN_OFFER: dict[str, Any] = {"term": 2, "index": 5, "size_bytes": 9, "rolling_hash": bytes(16), "digest": bytes(32)}
A_REPLY: dict[str, Any] = {"term": 2, "answers": 1, "success": True, "next_index": 3, "last_index": 2}
A_MEMBER = store_pb2.StoredMember(
    node_id="n1", region="eu", peer_address="h:1", api_address="h:2", role=store_pb2.StoredMember.ROLE_VOTER
)


def entries(count: int, payload: bytes = REGULAR_PREFIX, first: int = 2) -> list[raft_pb2.LogEntry]:
    return [raft_pb2.LogEntry(index=first + number, term=1, payload=payload) for number in range(count)]


def an_append(count: int, payload_bytes: int) -> dict[str, Any]:
    return {"term": 1, "sequence": 1, "prev_index": 1, "entries": entries(count, bytes(payload_bytes))}


def taken(message: raft_pb2.RaftMessage) -> raft_pb2.RaftMessage:
    """As it arrives. Raises Malformed."""
    arrived = decode(encode(message))
    if arrived.WhichOneof("body") == "append_entries":
        checked_entries(arrived.append_entries)
    return arrived


def numbers_of(descriptor: Descriptor) -> set[str]:
    """All but those of entries, which messages.checked_entries holds against each other."""
    names = {field.name for field in descriptor.fields if field.type in NUMBER_TYPES}
    for field in descriptor.fields:
        inner = field.message_type
        if inner is not None and inner.file is descriptor.file and inner.name != "LogEntry":
            names |= numbers_of(inner)
    return names


def test_every_number_that_a_message_may_carry_has_a_bound() -> None:
    assert numbers_of(raft_pb2.RaftMessage.DESCRIPTOR) == {"group", *GREATEST}


def test_what_this_release_sends_is_within_what_it_takes() -> None:
    assert EngineSettings.__dataclass_fields__["append_bytes_max"].default == APPEND_BYTES_MAX
    assert ENTRY_BYTES_MAX < PAYLOAD_BYTES_MAX < FRAME_BYTES_MAX


BEYOND: dict[str, dict[str, Any]] = {
    "a term": {"stale_term": {"term": TERM_MAX + 1}},
    "a vote for a term": {"vote_reply": {"term": (1 << 64) - 2}},
    "a term that was asked for": {"pre_vote_reply": {"asked_term": TERM_MAX + 1}},
    "a commit index": {"append_entries": {"term": 1, "prev_index": 1, "sequence": 1, "commit_index": INDEX_MAX + 1}},
    "the number of an append": {"append_entries": {"term": 1, "prev_index": 1, "sequence": COUNTER_MAX + 1}},
    "an echoed clock": {
        "append_entries": {"term": 1, "prev_index": 1, "sequence": 1, "echo_clock_ms": CLOCK_MS_MAX + 1}
    },
    "entries up to an index": {"append_entries": {"entries": entries(2, first=INDEX_MAX)}},
    "entries": {"append_entries": {"entries": entries(ENTRY_COUNT_MAX + 1)}},
    "bytes of entries": {"append_entries": an_append(2, APPEND_BYTES_MAX // 2 + 1)},
    "bytes of an entry": {"append_entries": an_append(1, PAYLOAD_BYTES_MAX + 1)},
    "a clock": {"append_reply": {**A_REPLY, "clock_ms": CLOCK_MS_MAX + 1}},
    "more compared than is held": {"append_reply": {**A_REPLY, "next_index": 4}},
    "a yes and a no": {"append_reply": {**A_REPLY, "rewind": True}},
    "neither yes nor no": {"append_reply": {**A_REPLY, "success": False}},
    "a log newer than its term": {"request_vote": {"term": 3, "last_term": 4, "last_index": 5}},
    "a membership that it does not hold": {"pre_vote": {"term": 3, "last_index": 5, "membership_index": 6}},
    "a last index": {"request_vote": {"term": 3, "last_index": INDEX_MAX + 1}},
    "the bytes of a snapshot": {"snapshot_offer": {**AN_OFFER, "size_bytes": SNAPSHOT_BYTES_MAX + 1}},
    "an empty snapshot": {"snapshot_offer": {**AN_OFFER, "size_bytes": 0}},
    "a short digest": {"snapshot_offer": {**AN_OFFER, "digest": bytes(31)}},
    "a long rolling hash": {"snapshot_offer": {**AN_OFFER, "rolling_hash": bytes(17)}},
    "an order for nobody": {"snapshot_wanted": {"term": 1, "receiver": "No Name", "index_min": 1}},
    "a promise for a path": {"snapshot_promised": {"term": 1, "receiver": "../x", "index": 1}},
    "two lines of why": {"snapshot_promised": {"term": 1, "receiver": "n2", "refused": "no\nCRITICAL forged"}},
    "a complaint of nobody": {"snapshot_not_taken": {"term": 1, "source": ""}},
    "a question's number": {"read_index": {"request_id": COUNTER_MAX + 1}},
    "a read index of nothing": {"read_index_reply": {"request_id": 1}},
    "a read index of zero": {"read_index_reply": {"request_id": 1, "index": 0}},
    "a reason": {"read_index_reply": {"request_id": 1, "refused": "NO LEADER\x1b[31m"}},
    "the bytes of a command": {"forward": {"request_id": 1, "command": bytes(COMMAND_BYTES_MAX + 1)}},
    "the time of a transfer": {"forward": {"request_id": 1, "transfer": {"timeout_ms": TRANSFER_MS_MAX + 1}}},
    "a transfer to no name": {"forward": {"request_id": 1, "transfer": {"node_id": "a b"}}},
    "a change of nothing": {"forward": {"request_id": 1, "member_change": {}}},
    "a removal of no name": {"forward": {"request_id": 1, "member_change": {"remove": "\n"}}},
    "a member of no region": {
        "forward": {"request_id": 1, "member_change": {"set": store_pb2.StoredMember(node_id="n1")}}
    },
    "a text": {"forward_reply": {"request_id": 1, "refused": "NO_LEADER", "message": "x" * (TEXT_CHARS_MAX + 1)}},
    "a leader of no name": {"forward_reply": {"request_id": 1, "leader_id": "-"}},
    "a membership without members": {"forward_reply": {"request_id": 1, "membership": {}}},
    "a membership's index": {
        "forward_reply": {"request_id": 1, "membership": {"index": INDEX_MAX + 1, "members": [A_MEMBER]}}
    },
}


@pytest.mark.parametrize("fields", BEYOND.values(), ids=BEYOND.keys())
def test_what_no_correct_peer_says_is_malformed(fields: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        taken(raft_pb2.RaftMessage(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"stale_term": {"term": TERM_MAX}},
        {"append_reply": A_REPLY},
        {"append_entries": an_append(1, PAYLOAD_BYTES_MAX)},
        {"append_entries": an_append(2, APPEND_BYTES_MAX // 2)},
        {"snapshot_offer": AN_OFFER},
        {"forward": {"request_id": 1, "command": bytes(COMMAND_BYTES_MAX)}},
        {"forward": {"request_id": 1}},
        {"forward_reply": {"request_id": 1, "membership": {"index": INDEX_MAX, "members": [A_MEMBER]}}},
        {"forward_reply": {"request_id": 1, "refused": "A_REASON_OF_A_NEWER_RELEASE"}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_lies_on_a_bound_is_taken(fields: dict[str, Any]) -> None:
    assert taken(raft_pb2.RaftMessage(**fields)) == raft_pb2.RaftMessage(group=GROUP_ID, **fields)


@pytest.mark.parametrize("group", [0, 2, (1 << 32) - 1])
def test_a_message_of_another_group_is_malformed(group: int) -> None:
    with pytest.raises(Malformed, match=f"of group {group}"):
        decode(raft_pb2.RaftMessage(group=group, vote_reply=raft_pb2.VoteReply(term=1)).SerializeToString())


@pytest.mark.parametrize("reported", [{"rolling_hash": b"short"}, {"applied_index": 2, "rolling_hash": bytes(32)}])
def test_a_report_of_the_state_is_of_an_entry_that_is_held(reported: dict[str, Any]) -> None:
    reply = raft_pb2.AppendReply(term=1, success=True, next_index=2, last_index=1, **reported)
    with pytest.raises(Malformed, match="a hash of"):
        taken(raft_pb2.RaftMessage(append_reply=reply))


def test_why_somebody_serves_no_snapshot_is_said_in_one_line() -> None:
    """It is the text of an error, of any length, and may quote a path."""
    why = "No space\n\tleft \x1b[2J" + "x" * 10_000
    promised = decode(encode(snapshot_refused(Term(1), NodeId("n2"), why))).snapshot_promised

    assert promised.refused.startswith("No space left ?[2Jxxx")
    assert len(promised.refused) == TEXT_CHARS_MAX
    assert plain_text("as it is") == "as it is"
