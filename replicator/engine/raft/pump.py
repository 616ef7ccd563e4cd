"""Sends each follower what it lacks: batched, numbered, bounded in flight. Replaces SyncObj's own sender.

Cures faults 2 (appends are numbered; an acknowledgement never moves back what is sent next), 7 (an entry is never cut)
and 14 (followers in name order); the numbers are those of docs/raft.md. Decides what to send;
the guard decides what an answer means.
"""

from collections.abc import Collection
from typing import Final

from replicator.core.flow_window import FlowLimits, FlowWindow
from replicator.core.quorum import others_for_majority
from replicator.engine.raft.group import Group
from replicator.engine.raft.links import Links
from replicator.engine.raft.messages import append_frame, serialized_entries
from replicator.engine.raft.progress import Progress
from replicator.engine.raft.timers import Timers
from replicator.engine.settings import EngineSettings
from replicator.engine.stock.graft import Graft
from replicator.engine.stock.journal import TurnJournal
from replicator.model.clock import Clock
from replicator.model.ids import EntryCount, LogIndex, NodeId
from replicator.model.log import Entry
from replicator.model.status import PeerProgress
from replicator.v1 import raft_pb2

COMMIT_NOTICE_S: Final = 0.005  # a new commit index waits this long for entries that can carry it


class Pump:
    """One leader's sending side. `progress` outlives terms; positions are SyncObj's."""

    def __init__(
        self,
        settings: EngineSettings,
        timers: Timers,
        *,
        group: Group,
        graft: Graft,
        journal: TurnJournal,
        clock: Clock,
        links: Links,
    ) -> None:
        self._settings, self._timers, self._group = settings, timers, group
        self._graft, self._journal, self._clock, self._links = graft, journal, clock, links
        self.progress = {peer: self.new_progress() for peer in group.others}
        self.linked: set[NodeId] = set()
        self._leads_since_s = self._flushed_s = float("-inf")
        self._owed: set[NodeId] = set()
        self._serialized: dict[tuple[LogIndex, LogIndex], bytes] = {}  # entries from, to: of this flush

    def new_progress(self) -> Progress:
        """Of a peer that nothing is known of."""
        limits = FlowLimits(
            ceiling_bytes=self._settings.in_flight_bytes_max, batch_bytes_max=self._settings.append_bytes_max
        )
        return Progress(FlowWindow(limits))

    def want(self) -> None:
        """All followers get an append, once, when the turn knows everything that it carries."""
        self._owed.update(self.progress)
        self._graft.heartbeat_due_s = self._clock.monotonic_s() + self._timers.timing.heartbeat_s

    def want_soon(self) -> None:
        """All followers learn of the new commit index: with the next entries, or after COMMIT_NOTICE_S."""
        notice_s = min(COMMIT_NOTICE_S, self._timers.timing.heartbeat_s)
        self._graft.heartbeat_due_s = min(self._graft.heartbeat_due_s, self._clock.monotonic_s() + notice_s)

    def want_one(self, peer: NodeId) -> None:
        """Only `peer` gets an append at the end of this turn."""
        self._owed.add(peer)

    def members_changed(self, anew: Collection[NodeId]) -> None:
        """Another membership is in force: who stays keeps its progress, but for those that have another disk."""
        kept = {peer: progress for peer, progress in self.progress.items() if peer not in anew}
        self.progress = {peer: kept.get(peer) or self.new_progress() for peer in self._group.others}
        self._owed.update(self.progress)

    def became_leader(self) -> None:
        """A new term of ours: nothing sent or heard in an earlier one counts."""
        self._leads_since_s = self._clock.monotonic_s()
        for progress in self.progress.values():
            progress.restart()

    def link_up(self, peer: NodeId) -> None:
        """A new link: what was in flight on the old one is lost, so start again after what is acknowledged."""
        self.linked.add(peer)
        progress = self.progress.get(peer)
        if progress is None:  # not a member here, or not yet
            return
        progress.void_in_flight()
        progress.peer_clock_ms = None
        if self._graft.is_leader:
            match = self._graft.match_index(peer)
            if match > 0:
                self._graft.set_next_index(peer, LogIndex(match + 1))
            self.want_one(peer)

    def link_down(self, peer: NodeId) -> None:
        """Nothing can be sent for now."""
        self.linked.discard(peer)

    def flush(self) -> None:
        """Sends the pending appends. Called once a turn, after the tick."""
        self._flushed_s = self._clock.monotonic_s()
        if not self._owed:
            return
        owed, self._owed = self._owed, set()
        if self._graft.is_leader:
            early, self._serialized = self._may_speak_early(), {}
            for peer in self.progress:
                if peer in owed and peer in self.linked:
                    self._replicate(peer, early=early)
            self._serialized = {}

    def _may_speak_early(self) -> bool:
        """May appends leave before this turn is durable (Ongaro 2014, 10.2.1)?

        They may name entries that this node holds only in memory: it does not count itself for those. But the term in
        which they speak must be on disk, with the vote that this node gave itself, and what they call committed too.
        """
        journal = self._journal
        return journal.durable_hard_state.term == self._graft.term and self._graft.commit_index <= journal.durable_index

    def heartbeat_of_durable_state(self, commit_index: LogIndex, first_index: LogIndex) -> None:
        """Heartbeats while a commit is still under way: they claim only what was durable before it.

        commit_index: of the last committed turn. first_index: the first entry that the log will hold after this one;
        the disk may have deleted what is before it already. Each append ends at what the follower has acknowledged, so
        it is always accepted, carries nothing, and keeps a slow disk from looking like a dead leader. It says nothing
        about freshness: its commit index may lie below what was acknowledged to callers.
        """
        for peer in self.progress:
            match = self._graft.match_index(peer)
            if peer in self.linked and match >= first_index:
                commit_index_known = LogIndex(min(match, commit_index))
                append = self._append(peer, self._journal.entry(match), 0, commit_index_known)
                self._links.send_frame(peer, append_frame(append, b""), early=True)

    def can_commit(self) -> bool:
        """Does a majority, this node's own disk included, hold more of this term than is known to be committed?

        Then the next tick commits it, and no answer will come that could cause one.
        """
        if not self._graft.is_leader:
            return False
        matches = sorted((self._graft.match_index(peer) for peer in self._group.other_voters), reverse=True)
        needed, index = others_for_majority(len(matches) + 1), self._journal.durable_index
        if needed:
            index = min(index, matches[needed - 1])
        return index > self._graft.commit_index and self._journal.entry(index).term == self._graft.term

    def knows_commit_index(self) -> bool:
        """Until an entry of its own term is committed, a leader does not know how far its predecessors came."""
        return self._graft.is_leader and self.term_is_committed()

    def term_is_committed(self) -> bool:
        """Is something of the current term known to be committed? Then its leader has had answers of a majority."""
        commit = self._graft.commit_index
        return commit >= self._journal.first_index and self._journal.entry(commit).term == self._graft.term

    def quorum_contact_s(self) -> float | None:
        """All that was acknowledged before this time lies at or below our commit index; None if that is unknown.

        It is the send time of an append that a majority has answered since: at that time nobody else led.
        """
        if not self.knows_commit_index():
            return None
        contacts = sorted([self.progress[peer].acked_sent_s for peer in self._group.other_voters], reverse=True)
        needed = others_for_majority(len(contacts) + 1)
        if needed == 0:
            return self._clock.monotonic_s()
        return contacts[needed - 1] if contacts[needed - 1] > float("-inf") else None

    def answering(self) -> frozenset[NodeId]:
        """Linked peers that have answered an append which was sent within the last greatest election timeout.

        A link alone tells little: that of a process which hangs, or whose cable was pulled, stays up for seconds.
        """
        return self._answering_since(self._clock.monotonic_s() - self._timers.timing.election_timeout_max_s)

    def not_silent(self) -> frozenset[NodeId]:
        """The same, but counts a peer as active until the turn has read its answers: a new leader has none so far."""
        since_s = self._flushed_s - self._timers.timing.election_timeout_max_s
        return frozenset(self.linked) if self._leads_since_s >= since_s else self._answering_since(since_s)

    def peer_progress(self, peer: NodeId, *, connected: bool) -> PeerProgress:
        """For the status: how far a member is, as the leader knows it."""
        if not self._graft.is_leader or peer not in self.progress:
            return PeerProgress(peer, connected, None, None)
        match = self._graft.match_index(peer)
        return PeerProgress(peer, connected, match, EntryCount(self._journal.last_index - match))

    def lacking(self) -> frozenset[NodeId]:
        """Linked peers whose next entry the log no longer holds."""
        return frozenset(
            peer for peer, progress in self.progress.items() if progress.needs_snapshot and peer in self.linked
        )

    def _answering_since(self, since_s: float) -> frozenset[NodeId]:
        return frozenset(
            peer for peer, progress in self.progress.items() if peer in self.linked and progress.acked_sent_s >= since_s
        )

    def _replicate(self, peer: NodeId, *, early: bool) -> None:
        progress, last, sent = self.progress[peer], self._journal.last_index, False
        following = self._graft.next_index(peer)
        if following <= self._journal.first_index:  # compacted away since
            progress.needs_snapshot = True
            following = LogIndex(self._journal.first_index + 1)
            self._graft.set_next_index(peer, following)
        while following <= last and progress.has_room() and not progress.needs_snapshot:
            entries = self._journal.batch(following, progress.flow.batch_bytes)
            self._send_fresh(peer, self._journal.entry(LogIndex(following - 1)), entries, early=early)
            following, sent = LogIndex(entries[-1].index + 1), True
        if following > last:
            progress.nothing_to_send()
        if sent:
            self._graft.set_next_index(peer, following)
        else:
            self._send_fresh(peer, self._journal.entry(LogIndex(following - 1)), [], early=early)

    def _send_fresh(self, peer: NodeId, prev: Entry, entries: list[Entry], *, early: bool) -> None:
        """An append with our commit index, and how fresh a follower is that has applied it."""
        payload_bytes = sum(len(entry.payload) for entry in entries)
        append = self._append(peer, prev, payload_bytes, self._graft.commit_index)
        peer_clock_ms, contact_s = self.progress[peer].peer_clock_ms, self.quorum_contact_s()
        if peer_clock_ms is not None and contact_s is not None:
            append.echo_clock_ms = peer_clock_ms
            append.quorum_age_ms = int(max(0.0, self._clock.monotonic_s() - contact_s) * 1000) + 1
        self._links.send_frame(peer, append_frame(append, self._bytes_of(entries)), early=early)

    def _bytes_of(self, entries: list[Entry]) -> bytes:
        """Serialized once a flush for all followers that get the same: most of the time all do."""
        if not entries:
            return b""
        span = entries[0].index, entries[-1].index
        if span not in self._serialized:
            self._serialized[span] = serialized_entries(entries)
        return self._serialized[span]

    def _append(self, peer: NodeId, prev: Entry, payload_bytes: int, commit_index: LogIndex) -> raft_pb2.AppendEntries:
        """All that is this follower's own in an append. payload_bytes: of the entries that it carries."""
        return raft_pb2.AppendEntries(
            term=self._graft.term,
            sequence=self.progress[peer].next_sequence(payload_bytes, self._clock.monotonic_s()),
            prev_index=prev.index,
            prev_term=prev.term,
            commit_index=commit_index,
        )
