"""Passes a peer's message to the part of the engine that handles it."""

from replicator.engine.leading.forwards import Forwards
from replicator.engine.raft.guard import Guard
from replicator.engine.raft.message_bounds import Malformed
from replicator.engine.raft.pre_vote import PreVotes
from replicator.engine.snapshots.duties import SnapshotDuties
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2


class Dispatch:
    """Hands over one message. Raises Malformed."""

    def __init__(self, guard: Guard, pre_votes: PreVotes, forwards: Forwards, snapshots: SnapshotDuties) -> None:
        self._guard, self._pre_votes, self._forwards, self._snapshots = guard, pre_votes, forwards, snapshots

    def __call__(self, peer: NodeId, message: raft_pb2.RaftMessage) -> None:
        match message.WhichOneof("body"):
            case "append_entries":
                self._guard.append_entries(peer, message.append_entries)
            case "append_reply":
                self._guard.append_reply(peer, message.append_reply)
            case "forward" | "read_index":
                self._forwards.serve(peer, message)
            case "forward_reply" | "read_index_reply":
                self._forwards.reply(peer, message)
            case "request_vote":
                self._guard.request_vote(peer, message.request_vote)
            case "vote_reply":
                self._guard.vote_reply(peer, message.vote_reply)
            case "pre_vote":
                self._pre_votes.answer(peer, message.pre_vote)
            case "pre_vote_reply":
                self._guard.pre_vote_reply(peer, message.pre_vote_reply)
            case "stale_term":
                self._guard.stale_term(peer, message.stale_term)
            case "snapshot_offer":
                self._snapshots.take_offer(peer, message.snapshot_offer)
            case "snapshot_wanted":
                self._snapshots.wanted(peer, message.snapshot_wanted)
            case "snapshot_promised":
                self._snapshots.promised(peer, message.snapshot_promised)
            case "snapshot_not_taken":
                self._snapshots.not_taken(peer, message.snapshot_not_taken)
            case "timeout_now":
                self._guard.timeout_now(peer, message.timeout_now)
            case kind:
                raise Malformed(f"message of kind {kind} has no handler")
