"""Between the wire and SyncObj: corrects everything that stock pysyncobj gets wrong in its messages.

The numbers are those of the table in design.md, kept in docs/raft.md: 1 appends are reduced to what SyncObj may act on;
2 stale answers are dropped and rewinds bounded; 3 a rejection skips a whole conflicting term; 4 stale leaders are told.
Must not know: sockets, disks, asyncio. Every handler is synchronous and runs inside a turn.
"""

from typing import Any

from replicator.core.freshness import Freshness
from replicator.engine.core import ReplicaCore
from replicator.engine.raft.message_bounds import LostData, Malformed
from replicator.engine.raft.messages import checked_entries, stale_term
from replicator.engine.raft.pre_vote import PreVotes
from replicator.engine.raft.state_check import StateCheck
from replicator.model.errors import HistoryReplaced
from replicator.model.ids import GROUP_LABEL, LogIndex, NodeId, Term
from replicator.model.log import Entry
from replicator.model.observe import Observer, Signal
from replicator.v1 import raft_pb2


class Guard:
    """Handles the Raft messages of one node; what concerns proposals and reads goes elsewhere."""

    def __init__(
        self,
        core: ReplicaCore,
        *,
        pre_votes: PreVotes,
        freshness: Freshness,
        state_check: StateCheck,
        observer: Observer,
    ) -> None:
        self._group, self._graft, self._journal = core.group, core.graft, core.journal
        self._pump, self._pre_votes, self._freshness = core.pump, pre_votes, freshness
        self._state_check = state_check
        self._clock, self._observer, self._send = core.clock, observer, core.links.send
        self._answering: tuple[int, LogIndex] | None = None  # sequence of the append in hand, highest index compared
        self._voters_heard: tuple[Term, set[NodeId]] = (Term(0), set())

    # Incoming ------------------------------------------------------------------------------------------------------

    def append_entries(self, peer: NodeId, append: raft_pb2.AppendEntries) -> None:
        """Follower side of replication. Raises Malformed."""
        entries = checked_entries(append)
        if append.term < self._graft.term:  # stock drops this in silence: the old leader never learns (fault 4)
            self._send(peer, stale_term(self._graft.term))
            return
        self._check_sender(peer, append)
        self._pre_votes.heard_leader()
        message = self._normalised(append, entries)
        self._graft.receive(peer, message)
        self._answering = None
        if append.HasField("echo_clock_ms"):
            as_of_s = (append.echo_clock_ms - append.quorum_age_ms) / 1000
            self._freshness.covers(LogIndex(append.commit_index), as_of_s)

    def _check_sender(self, peer: NodeId, append: raft_pb2.AppendEntries) -> None:
        """One node leads a term, and what it echoes of our clock is past. Raises Malformed.

        The leader is known once an append of the term was taken. Until then it may be any linked node: a node
        that lags does not know who votes by now.
        """
        leader = self._graft.leader
        if append.term == self._graft.term and (self._graft.is_leader or leader not in (None, peer)):
            raise Malformed(f"append of {peer}, a second leader of term {append.term} beside {leader}")
        if append.echo_clock_ms > self._clock.monotonic_s() * 1000:
            raise Malformed(f"append that echoes {append.echo_clock_ms} ms of our clock, which is in the future")

    def append_reply(self, peer: NodeId, reply: raft_pb2.AppendReply) -> None:
        """Leader side of replication. Raises Malformed, LostData."""
        if reply.term > self._graft.term:
            self._adopt(peer, Term(reply.term))
        if reply.term != self._graft.term or not self._graft.is_leader:
            return  # answers an append of an earlier term of ours (fault 2)
        progress, last = self._pump.progress.get(peer), self._journal.last_index
        if progress is None:
            return  # not a member any more
        if reply.answers > progress.sent or reply.next_index < 1 or (reply.success and reply.next_index > last + 1):
            raise Malformed(f"reply to append {reply.answers} of {progress.sent} with next_index={reply.next_index}")
        rewind = reply.rewind and reply.answers > progress.floor
        progress.answered(reply.answers, self._clock.monotonic_s(), arrived=reply.success)
        progress.peer_clock_ms = reply.clock_ms
        self._state_check.heard(peer, reply)
        sent_up_to = self._graft.next_index(peer)
        self._graft.receive(peer, _next_node_idx(LogIndex(reply.next_index), success=reply.success))
        if rewind and reply.last_index < self._graft.match_index(peer):
            self._refuse_lost_data(peer, LogIndex(reply.last_index))
        match = self._graft.match_index(peer)
        if rewind:  # one correction; rejections of what was sent before it are void
            self._observer.count(Signal.APPENDS_REJECTED, group=GROUP_LABEL)
            progress.void_in_flight()
            progress.needs_snapshot = max(reply.next_index, match + 1) <= self._journal.first_index
            floor = max(match, self._journal.first_index) + 1  # never below what is acknowledged
            self._graft.set_next_index(peer, LogIndex(min(max(reply.next_index, floor), last + 1)))
            if not progress.needs_snapshot:
                self._pump.want_one(peer)
        else:  # stock sends again all that is in flight after each acknowledgement
            progress.needs_snapshot = progress.needs_snapshot and not reply.success
            self._graft.set_next_index(peer, LogIndex(max(sent_up_to, match + 1)))
            if sent_up_to <= last and progress.has_room() and not progress.needs_snapshot:
                self._pump.want_one(peer)

    def _refuse_lost_data(self, peer: NodeId, last_index: LogIndex) -> None:
        """Within one term a follower never gives back what it acknowledged: its disk was lost, or put back from a copy.

        With its entries it has forgotten its votes, so it counts for nothing until it has joined anew. Raises LostData.
        """
        match = self._graft.match_index(peer)
        self._graft.forget_match(peer, LogIndex(0))
        raise LostData(
            f"it acknowledged entry {match} in term {self._graft.term} and now holds the log up to {last_index} only: "
            "its data were lost, or replaced by an older copy, and its votes with them"
        )

    def request_vote(self, peer: NodeId, request: raft_pb2.RequestVote) -> None:
        """A peer campaigns."""
        if request.term < self._graft.term:
            self._send(peer, stale_term(self._graft.term))
            return
        if not self._group.may_vote_for(peer, LogIndex(request.membership_index)):
            return  # nor is its term taken: one that was removed cannot disturb those that stay
        if request.term > self._graft.term:
            self._graft.forget_transfer()
        self._graft.receive(
            peer,
            {
                "type": "request_vote",
                "term": request.term,
                "last_log_term": request.last_term,
                "last_log_index": request.last_index,
            },
        )

    def vote_reply(self, peer: NodeId, reply: raft_pb2.VoteReply) -> None:
        """Counts each voter once a term: stock counts messages. Raises Malformed."""
        term = self._graft.term
        if reply.term > term:
            raise Malformed(f"vote for term {reply.term} in term {term}: nobody has asked for it")
        if self._voters_heard[0] != term:
            self._voters_heard = (term, set())
        if reply.term == term and peer in self._group.other_voters and peer not in self._voters_heard[1]:
            self._voters_heard[1].add(peer)
            self._graft.receive(peer, {"type": "response_vote", "term": reply.term})

    def pre_vote_reply(self, peer: NodeId, reply: raft_pb2.PreVoteReply) -> None:
        """An answer to our question whether we could win. Raises Malformed."""
        if reply.asked_term > self._graft.term + 1:
            raise Malformed(f"answer to a pre-vote for term {reply.asked_term} in term {self._graft.term}")
        if reply.term > self._graft.term:
            self._adopt(peer, Term(reply.term))
        else:
            self._pre_votes.count(peer, reply)

    def stale_term(self, peer: NodeId, message: raft_pb2.StaleTerm) -> None:
        """Our term is over."""
        if message.term > self._graft.term:
            self._adopt(peer, Term(message.term))

    def timeout_now(self, peer: NodeId, message: raft_pb2.TimeoutNow) -> None:
        """Our leader asks us to campaign at once."""
        if message.term == self._graft.term and peer == self._graft.leader and self._group.is_voter:
            self._graft.receive(peer, {"type": "timeout_now", "term": message.term})

    # Outgoing: what SyncObj sends ----------------------------------------------------------------------------------

    def outgoing(self, peer: NodeId, message: dict[str, Any]) -> None:
        """Translates SyncObj's message, with what stock leaves out."""
        match message["type"]:
            case "next_node_idx":
                self._send(peer, self._append_reply(message))
            case "request_vote":
                request = raft_pb2.RequestVote(
                    term=message["term"],
                    last_index=message["last_log_index"],
                    last_term=message["last_log_term"],
                    membership_index=self._group.membership.index,
                )
                self._send(peer, raft_pb2.RaftMessage(request_vote=request))
            case "response_vote":
                self._send(peer, raft_pb2.RaftMessage(vote_reply=raft_pb2.VoteReply(term=message["term"])))
            case "timeout_now":
                self._send(peer, raft_pb2.RaftMessage(timeout_now=raft_pb2.TimeoutNow(term=message["term"])))
            case kind:
                raise AssertionError(f"SyncObj sends a message that the guard has replaced: {kind}")

    def _append_reply(self, message: dict[str, Any]) -> raft_pb2.RaftMessage:
        assert self._answering is not None, "an answer without an append"
        sequence, verified = self._answering
        following, rewind = LogIndex(message["next_node_idx"]), bool(message["reset"])
        if message["success"]:
            following = LogIndex(verified + 1)  # what was compared, not our whole tail (fault 1)
        elif rewind:
            following = self._conflict_hint(following)
        reply = raft_pb2.AppendReply(
            term=self._graft.term,
            answers=sequence,
            success=message["success"],
            rewind=rewind,
            next_index=following,
            clock_ms=int(self._clock.monotonic_s() * 1000),
            last_index=self._journal.last_index,
        )
        self._state_check.report(reply)
        return raft_pb2.RaftMessage(append_reply=reply)

    def _conflict_hint(self, following: LogIndex) -> LogIndex:
        """First index of our conflicting term, not one entry back a round trip (fault 3; Raft 2014, end of 5.3)."""
        journal = self._journal
        if following > journal.last_index:
            return LogIndex(journal.last_index + 1)
        floor, term = max(journal.first_index, self._graft.commit_index), journal.entry(following).term
        while following - 1 > floor and journal.entry(LogIndex(following - 1)).term == term:
            following = LogIndex(following - 1)
        return following

    # Reduction of appends ------------------------------------------------------------------------------------------

    def _above_compaction(self, prev: Entry, entries: list[Entry]) -> tuple[Entry, list[Entry]]:
        """An append that begins below our first entry, moved up to it.

        What we compacted, and the first entry itself, were committed: any leader's log is equal up to there.
        """
        head = self._journal.entry(self._journal.first_index)
        if prev.index >= head.index:
            return prev, entries
        return head, [entry for entry in entries if entry.index > head.index]

    def _refuse_another_history(self, append: raft_pb2.AppendEntries, entries: list[Entry]) -> None:
        """What is committed here is in the log of every later leader (Raft 2014, 5.4.3), unless copies were put back.

        Raises HistoryReplaced: nothing of this turn is kept or sent.
        """
        journal, commit_index = self._journal, self._graft.commit_index
        for theirs in (Entry(b"", LogIndex(append.prev_index), Term(append.prev_term)), *entries):
            if theirs.index > commit_index:
                return
            if theirs.index < journal.first_index:
                continue
            ours = journal.entry(theirs.index)
            if ours.term != theirs.term or theirs.payload not in (b"", ours.payload):
                raise HistoryReplaced(
                    index=ours.index, term=ours.term, other_term=theirs.term, by_term=Term(append.term)
                )

    def _normalised(self, append: raft_pb2.AppendEntries, entries: list[Entry]) -> dict[str, Any]:
        """What SyncObj may act on: it deletes everything after prevLogIdx, conflict or not (fault 1).

        Entries that we hold already are trimmed, so that only a true conflict deletes. The commit index is bounded by
        what this append proves equal (Raft 2014, figure 2: "index of last new entry").
        """
        journal = self._journal
        self._refuse_another_history(append, entries)
        prev, entries = self._above_compaction(Entry(b"", LogIndex(append.prev_index), Term(append.prev_term)), entries)
        prev_index, prev_term = prev.index, prev.term
        commit_index = min(append.commit_index, self._graft.commit_index)
        if prev_index <= journal.last_index and journal.entry(prev_index).term == prev_term:
            verified = entries[-1].index if entries else prev_index
            commit_index = min(append.commit_index, verified)
            held = 0
            while held < len(entries) and self._holds(entries[held]):
                held += 1
            if held == len(entries):  # nothing new: keep our tail
                last = journal.entry(journal.last_index)
                prev_index, prev_term, entries = last.index, last.term, []
            elif held:
                prev_index, prev_term, entries = entries[held - 1].index, entries[held - 1].term, entries[held:]
        else:
            verified = LogIndex(0)  # SyncObj rejects it
        self._answering = (append.sequence, verified)
        return {
            "type": "append_entries",
            "term": append.term,
            "commit_index": commit_index,
            "entries": entries,
            "prevLogIdx": prev_index,
            "prevLogTerm": prev_term,
        }

    def _holds(self, entry: Entry) -> bool:
        journal = self._journal
        return entry.index <= journal.last_index and journal.entry(entry.index).term == entry.term

    def _adopt(self, peer: NodeId, term: Term) -> None:
        """Takes a higher term through SyncObj's own door: a vote request that cannot be granted."""
        self._graft.forget_transfer()
        self._graft.receive(peer, {"type": "request_vote", "term": term, "last_log_term": -1, "last_log_index": -1})
        assert self._graft.term == term
        assert not self._graft.is_leader


def _next_node_idx(following: LogIndex, *, success: bool) -> dict[str, Any]:
    """SyncObj's form of a reply; rewinds are the guard's business, so it never sees one."""
    return {"type": "next_node_idx", "next_node_idx": following, "success": success, "reset": False}
