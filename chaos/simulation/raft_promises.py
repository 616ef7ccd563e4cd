"""What Raft itself promises, checked where it would break first (Ongaro & Ousterhout 2014, figure 3).

Sees the memory and the disk of every node. A bug is caught here before it has lost anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.simulation.node import SimNode
from chaos.simulation.violation import Violation
from replicator.engine.messages import decode
from replicator.engine.replica import Outgoing
from replicator.model.ids import LogIndex, Term
from replicator.v1 import raft_pb2

SMALL_FRAME_BYTES_MAX = 128  # votes and replies; appends need not be looked into


@dataclass(slots=True)
class RaftPromises:
    """Asked about every node after each of its turns, when its disk holds what the turn decided."""

    nodes: Sequence[SimNode] = ()
    leaders: dict[int, str] = field(default_factory=dict)
    votes: dict[tuple[str, int], str] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)  # index -> term of the entry
    commit_max: int = 0
    commits: dict[str, tuple[int, int]] = field(default_factory=dict)  # leader -> term, commit index

    def after_turn(self, node: SimNode, frames: Sequence[Outgoing]) -> None:
        """frames: what leaves the node now."""
        assert node.replica is not None
        if node.replica.graft.is_leader:
            self._election_safety(node)
            self._commits_by_its_own_term(node)
            self._believes_only_what_is_held(node)
        for frame in frames:
            if len(frame.payload) <= SMALL_FRAME_BYTES_MAX:
                self._look_at(node, frame, decode(frame.payload))

    def applied(self, index: int, term: int) -> None:
        """Some node has applied this entry: it is committed for good."""
        self.committed[index] = term
        self.commit_max = max(self.commit_max, index)

    def _election_safety(self, node: SimNode) -> None:
        """At most one leader a term, by a majority, that holds all that was committed before (leader completeness)."""
        assert node.replica is not None
        term, journal = node.replica.graft.term, node.replica.journal
        first_seen = term not in self.leaders
        if self.leaders.setdefault(term, node.node_id) != node.node_id:
            raise _broken(node, f"leads term {term}, and so does {self.leaders[term]}")
        voters = sum(self.votes.get((peer.node_id, term)) == node.node_id for peer in self.nodes)
        if first_seen and len(self.nodes) > 1 and 2 * voters <= len(self.nodes):
            raise _broken(node, f"leads term {term} by {voters} votes of {len(self.nodes)}")
        if first_seen and self.commit_max >= journal.first_index:
            if journal.last_index < self.commit_max:
                raise _broken(node, f"leads with a log up to {journal.last_index}; {self.commit_max} is committed")
            held = journal.entry(LogIndex(self.commit_max)).term
            if held != self.committed[self.commit_max]:
                raise _broken(node, f"leads with another entry at {self.commit_max}, which is committed")

    def _commits_by_its_own_term(self, node: SimNode) -> None:
        """A leader commits by counting only entries of its own term (5.4.2, figure 8)."""
        assert node.replica is not None
        term, commit = node.replica.graft.term, node.replica.graft.commit_index
        known_term, known_commit = self.commits.get(node.node_id, (Term(0), LogIndex(0)))
        if known_term == term and commit > known_commit:
            entry_term = node.replica.journal.entry(commit).term
            if entry_term != term:
                raise _broken(node, f"leads term {term} and committed entry {commit} of term {entry_term} by counting")
        self.commits[node.node_id] = (term, commit)

    def _believes_only_what_is_held(self, node: SimNode) -> None:
        """A match index names an entry on that peer's disk, the same as the leader's."""
        assert node.replica is not None
        journal = node.replica.journal
        for peer in self.nodes:
            if peer is node or peer.storage is None or peer.storage.hard_state().term != node.replica.graft.term:
                continue  # a peer that has moved on may have given up what it acknowledged to a leader of the past
            match = node.replica.graft.match_index(peer.node_id)
            if match < journal.first_index:
                continue
            held, bounds = peer.storage.term_at(match), peer.storage.load_log()
            if match > bounds.last_index or (held is not None and held != journal.entry(match).term):
                raise _broken(node, f"counts on {peer.node_id} for entry {match}, which it does not hold")

    def _look_at(self, node: SimNode, frame: Outgoing, message: raft_pb2.RaftMessage) -> None:
        match message.WhichOneof("body"):
            case "vote_reply":
                self._vote(node, message.vote_reply.term, frame.peer)
            case "request_vote":
                self._vote(node, message.request_vote.term, node.node_id)
            case "append_reply" if message.append_reply.success:
                self._holds_what_it_acknowledges(node, message.append_reply)

    def _vote(self, node: SimNode, term: int, candidate: str) -> None:
        """One vote a term, and on disk before it is told to anyone."""
        assert node.storage is not None
        if self.votes.setdefault((node.node_id, term), candidate) != candidate:
            raise _broken(node, f"voted for {self.votes[node.node_id, term]} and {candidate} in term {term}")
        state = node.storage.hard_state()
        if state.term < term or (state.term == term and state.voted_for != candidate):
            raise _broken(node, f"tells of a vote for {candidate} in term {term}, but its disk says {state}")

    def _holds_what_it_acknowledges(self, node: SimNode, reply: raft_pb2.AppendReply) -> None:
        """An acknowledgement leaves after what it acknowledges is on disk."""
        assert node.storage is not None
        last = node.storage.load_log().last_index
        if reply.next_index - 1 > last:
            raise _broken(node, f"acknowledges {reply.next_index - 1}, but its disk ends at {last}")


def _broken(node: SimNode, problem: str) -> Violation:
    return Violation(f"{node.timeline.now_s:.3f}s: {node.node_id} {problem}")
