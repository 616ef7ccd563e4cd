"""The messages that carry requests to a leader and its answers back, whatever is in them: numbers, replies, refusals.

A request to confirm a read travels in messages of its own, all others in a Forward.
"""

from typing import Final

from replicator.engine.raft.message_bounds import plain_text
from replicator.model.errors import ReplicatorError, error_from_reason
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2

ASK_AGAIN_S: Final = 0.05  # when a caller may ask again that the leader refused without saying when
Body = raft_pb2.Forward | raft_pb2.ForwardReply | raft_pb2.ReadIndex | raft_pb2.ReadIndexReply


def name_of(question: raft_pb2.RaftMessage) -> str:
    """Of the kind of request, as `request_table.py` has it; empty for one that only a later release knows."""
    body = question.WhichOneof("body")
    return (question.forward.WhichOneof("request") or "") if body == "forward" else str(body)


def body_of(message: raft_pb2.RaftMessage) -> Body:
    """What is numbered in a question or an answer."""
    match message.WhichOneof("body"):
        case "forward":
            return message.forward
        case "forward_reply":
            return message.forward_reply
        case "read_index":
            return message.read_index
        case "read_index_reply":
            return message.read_index_reply
        case kind:
            raise AssertionError(f"{kind} neither asks a leader nor answers for one")


def result_of(reply: raft_pb2.RaftMessage) -> str:
    """The field that is set in an answer; `refused` among them. Empty if there is none."""
    answers_read = reply.WhichOneof("body") == "read_index_reply"
    return (reply.read_index_reply if answers_read else reply.forward_reply).WhichOneof("result") or ""


def is_question(message: raft_pb2.RaftMessage) -> bool:
    """Whether a peer asks its leader for something."""
    return message.WhichOneof("body") in {"forward", "read_index"}


def reply_to(question: raft_pb2.RaftMessage) -> raft_pb2.RaftMessage:
    """An answer to be filled in, under the number of the question."""
    request_id = body_of(question).request_id
    if question.WhichOneof("body") == "read_index":
        return raft_pb2.RaftMessage(read_index_reply=raft_pb2.ReadIndexReply(request_id=request_id))
    return raft_pb2.RaftMessage(forward_reply=raft_pb2.ForwardReply(request_id=request_id))


def refusal(question: raft_pb2.RaftMessage, error: ReplicatorError) -> raft_pb2.RaftMessage:
    """The answer that says why there is no other one."""
    reply = reply_to(question)
    refuse(reply, error)
    return reply


def refuse(reply: raft_pb2.RaftMessage, error: ReplicatorError) -> None:
    """Fills in why there is no other answer. The reason alone says why a read was refused."""
    if reply.WhichOneof("body") == "read_index_reply":
        reply.read_index_reply.refused = error.reason
    else:
        reply.forward_reply.refused = error.reason
        reply.forward_reply.message = plain_text(error.message)
        if error.retry_after_s is not None:
            reply.forward_reply.retry_after_ms = max(1, round(error.retry_after_s * 1000))


def refusal_in(peer: NodeId, reply: raft_pb2.RaftMessage) -> ReplicatorError:
    """The error that `peer` has answered with."""
    if reply.WhichOneof("body") == "read_index_reply":
        reason, message, retry_after_ms = reply.read_index_reply.refused, "", 0
    else:
        answer = reply.forward_reply
        reason, message, retry_after_ms = answer.refused, answer.message, answer.retry_after_ms
    said = message or f"the leader ({peer}) answered {reason}"
    return error_from_reason(reason, said, retry_after_s=retry_after_ms / 1000 or ASK_AGAIN_S)
