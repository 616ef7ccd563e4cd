"""A follower by hand: its log is given by the terms of its entries, and so are the appends that it takes."""

from replicator.machine.codec import REGULAR_PREFIX
from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry, HardState
from replicator.v1 import raft_pb2
from tests.support.replicas import NAMES, HandDisk, HandNode, bodies

A, B, C = NAMES[:3]


def payload(term: int, index: int) -> bytes:
    return REGULAR_PREFIX + b"%d/%d" % (term, index)


def a_follower(*terms: int, term: int = 9, commit: int = 1) -> HandNode:
    """A node whose log holds entries of these terms from index 1 on, linked to B and C."""
    disk = HandDisk(
        entries=[Entry(payload(t, i), LogIndex(i), Term(t)) for i, t in enumerate(terms, start=1)],
        state=HardState(Term(term), None, LogIndex(commit)),
    )
    node = HandNode(A, [B, C], disk=disk)
    node.link(B, C)
    return node


def append(
    prev: tuple[int, int], *terms: int, term: int = 9, sequence: int = 1, commit: int = 1
) -> raft_pb2.AppendEntries:
    """Entries of these terms after `prev` (index, term)."""
    entries = [
        raft_pb2.LogEntry(index=i, term=t, payload=payload(t, i)) for i, t in enumerate(terms, start=prev[0] + 1)
    ]
    return raft_pb2.AppendEntries(
        term=term, sequence=sequence, prev_index=prev[0], prev_term=prev[1], entries=entries, commit_index=commit
    )


def answer(node: HandNode, message: raft_pb2.AppendEntries) -> raft_pb2.AppendReply:
    (reply,) = bodies(node.hear(B, append_entries=message), "append_reply")
    return reply.append_reply


def terms_of(node: HandNode) -> list[int]:
    return [term for _, term in node.log()]
