"""The table of leader requests: each kind of raft.proto has a row, and each row reads what it writes."""

from typing import TypeVar

import pytest

from replicator.engine.leading.envelopes import body_of, is_question, name_of, refusal, refusal_in, reply_to, result_of
from replicator.engine.leading.request_kinds import AnyKind, RequestKind
from replicator.engine.leading.request_table import MEMBER_CHANGE, READ_INDEX, ROWS, TRANSFER, WRITE, WriteRequest
from replicator.engine.leading.transfer import TransferRequest
from replicator.engine.raft.message_bounds import COMMAND_BYTES_MAX
from replicator.engine.raft.messages import decode, encode
from replicator.model.errors import InvalidArgument, NotLeader, StorageFull
from replicator.model.ids import LogIndex, NodeId, Region
from replicator.model.members import RemoveMember
from replicator.v1 import raft_pb2, store_pb2
from tests.support.commands import put
from tests.support.members import founded, voters

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")
QUESTIONS = [
    raft_pb2.RaftMessage(forward=raft_pb2.Forward(request_id=3, command=put(b"k"))),
    raft_pb2.RaftMessage(read_index=raft_pb2.ReadIndex(request_id=3)),
]


def fields_of(message: str, oneof: str) -> set[str]:
    descriptor = raft_pb2.DESCRIPTOR.message_types_by_name[message]
    return {field.name for field in descriptor.oneofs_by_name[oneof].fields}


def test_each_request_that_a_message_can_carry_has_a_row() -> None:
    assert {row.name for row in ROWS} == fields_of("Forward", "request") | {"read_index"}
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_each_answer_that_a_message_can_carry_has_a_row() -> None:
    carried = fields_of("ForwardReply", "result") | fields_of("ReadIndexReply", "result")
    assert {row.answer for row in ROWS} == carried - {"refused"}


def travels(kind: RequestKind[RequestT, AnswerT], request: RequestT, answer: AnswerT) -> None:
    """Request and answer arrive as they were sent, under one number, and are known for what they are."""
    question = kind.encode(request)
    body_of(question).request_id = 7
    question = decode(encode(question))
    assert is_question(question)
    assert name_of(question) == kind.name
    assert kind.decode(question) == request
    reply = reply_to(question)
    kind.encode_answer(reply, answer)
    reply = decode(encode(reply))
    assert body_of(reply).request_id == 7
    assert result_of(reply) == kind.answer
    assert kind.decode_answer(reply) == answer


def test_what_each_kind_asks_and_answers_arrives_as_it_was_sent() -> None:
    membership = founded(voters("n1", "n2")).without_secret()
    travels(WRITE, WriteRequest(put(b"k")), store_pb2.BatchOutcome(revisions=[4], index=9))
    travels(READ_INDEX, None, LogIndex(9))
    travels(MEMBER_CHANGE, RemoveMember(NodeId("n3")), membership)
    travels(TRANSFER, TransferRequest(NodeId("n2"), timeout_s=1.5), NodeId("n2"))
    travels(TRANSFER, TransferRequest(region=Region("eu"), timeout_s=0.0), NodeId("n2"))


@pytest.mark.parametrize("row", [WRITE, MEMBER_CHANGE], ids=lambda row: str(row.name))
def test_what_changes_the_store_or_the_group_is_unknown_once_its_answer_is_lost(row: AnyKind) -> None:
    lost = (WRITE if row is WRITE else MEMBER_CHANGE).lost("the link fell")
    assert lost.applied == "unknown"
    assert lost.message.startswith("the link fell")


@pytest.mark.parametrize("question", QUESTIONS, ids=name_of)
def test_a_refusal_arrives_as_the_error_that_it_was(question: raft_pb2.RaftMessage) -> None:
    reply = decode(encode(refusal(question, NotLeader("n1 leads"))))
    heard = refusal_in(NodeId("n9"), reply)

    assert body_of(reply).request_id == 3
    assert isinstance(heard, NotLeader)
    assert isinstance(refusal_in(NodeId("n9"), refusal(question, StorageFull(""))), StorageFull)


def test_a_command_that_no_link_can_carry_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidArgument, match="split it into smaller writes"):
        WRITE.encode(WriteRequest(bytes(COMMAND_BYTES_MAX + 1)))
