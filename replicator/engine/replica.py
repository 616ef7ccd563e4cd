"""One Raft node without sockets, disks or a loop: events in, a turn's writes and frames out.

Contract with its driver (the asyncio loop of turns.py, or a simulation), for every turn:
1. hand all that arrived to `turn`, in order of arrival; at most one turn is open at a time;
2. make `Turn.write` durable, whole, before anything else of the turn takes effect;
3. call `complete` with the outcomes; only now send the frames of the turn and those that `complete` returns;
4. if the write cannot be made durable, send nothing: stop, or repeat the same write later.
Answers to callers are given by `complete` or by later turns, never before the write that they depend on.
"""

import contextlib
import itertools
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from replicator.core.compaction import CompactionPolicy
from replicator.core.freshness import Freshness
from replicator.engine.dispatch import Dispatch
from replicator.engine.events import BadLink, Event, Frame, LinkDown, LinkUp, Outgoing, RefusedBy, Turn
from replicator.engine.leading.envelopes import is_question, refusal
from replicator.engine.leading.forwards import Forwards
from replicator.engine.leading.log_time import LogTime
from replicator.engine.leading.member_changes import MemberChanges
from replicator.engine.leading.preference import Preference
from replicator.engine.leading.proposals import Proposals
from replicator.engine.leading.read_index import ReadIndexes
from replicator.engine.leading.request_kinds import LeaderSide
from replicator.engine.leading.timing_changes import TimingChanges
from replicator.engine.leading.transfer import Transfers
from replicator.engine.raft.group import Group
from replicator.engine.raft.guard import Guard
from replicator.engine.raft.majority import Majority
from replicator.engine.raft.message_bounds import LostData, Malformed
from replicator.engine.raft.messages import decode
from replicator.engine.raft.pre_vote import PreVotes
from replicator.engine.raft.pump import Pump
from replicator.engine.raft.role_log import RoleLog
from replicator.engine.raft.timers import Timers, timing_of_wire
from replicator.engine.settings import EngineSettings
from replicator.engine.snapshots.duties import SnapshotDuties
from replicator.engine.stock.graft import Graft
from replicator.engine.stock.journal import LogReader, TurnJournal
from replicator.machine.codec import is_group_change
from replicator.machine.group_entries import decode_group_change, membership_of
from replicator.model.clock import Clock
from replicator.model.errors import NoLeader, StorageFull
from replicator.model.ids import LogIndex, NodeId
from replicator.model.log import Entry, TurnWrite
from replicator.model.observe import Observer, Signal
from replicator.v1 import raft_pb2, store_pb2

TIMER_SLACK_S: Final = 0.001  # SyncObj's timers fire strictly after their time


class Replica:
    """Wires what one node's engine is made of. Implements `graft.EngineHooks`."""

    def __init__(
        self,
        settings: EngineSettings,
        *,
        log: LogReader,
        applied_index: LogIndex,
        clock: Clock,
        dice: random.Random,
        observer: Observer,
        request_ids: Iterator[int] | None = None,
        timers: Timers | None = None,
        majority: Majority | None = None,
    ) -> None:
        self.settings, self._clock, self._dice, self._observer = settings, clock, dice, observer
        self._request_ids = request_ids if request_ids is not None else itertools.count(1)
        self._compaction = CompactionPolicy(entries_max=settings.log_entries_max, bytes_max=settings.log_bytes_max)
        self.journal = TurnJournal(log)
        self._epochs: dict[NodeId, int] = {}
        self._outbox: list[Outgoing] = []
        self._to_apply: list[Entry] = []
        self._bad_links, self._lost_data = list[BadLink](), list[BadLink]()
        self._turn: Turn | None = None
        self.applied_index = applied_index
        self.freshness = Freshness(applied_index)
        self.group = Group(
            settings.node_id,
            settings.directory_id,
            log.membership() or settings.membership,
            joining=settings.joining,
            leader_preference=settings.leader_preference,
        )
        self.graft = Graft(
            settings, journal=self.journal, applied_index=applied_index, clock=clock, dice=dice, hooks=self
        )
        self._set_members()
        self.majority = majority or Majority(clock)
        self.majority.bind(self.group, self.graft)
        self.timers = timers or Timers(settings.timing)
        self.timers.bind(self.graft)
        if (agreed := log.timing()) is not None:
            self._take_timing(agreed)
        self.on_role: Callable[[str], None] = lambda _role: None
        self._role = self.graft.role
        self._role_log = RoleLog(settings.node_id, self.graft)
        self.pump = Pump(
            settings, self.timers, group=self.group, graft=self.graft, journal=self.journal, clock=clock,
            send=self._send,
        )  # fmt: skip
        self._auto_timing = TimingChanges(settings, self.timers, group=self.group, graft=self.graft, pump=self.pump)
        self._pre_votes = PreVotes(
            settings.node_id, self.timers, group=self.group, graft=self.graft, journal=self.journal,
            clock=clock, dice=dice, send=self._send,
        )  # fmt: skip
        self._guard = Guard(
            group=self.group, graft=self.graft, journal=self.journal, pump=self.pump, pre_votes=self._pre_votes,
            freshness=self.freshness, clock=clock, observer=observer, send=self._send,
        )  # fmt: skip
        self._wire_callers(log)
        self._dispatch = Dispatch(self._guard, self._pre_votes, self.forwards, self.snapshots)

    def _wire_callers(self, log: LogReader) -> None:
        """What stands between callers and the log."""
        settings, clock = self.settings, self._clock
        self.log_time = LogTime(log, journal=self.journal, applied_index=self.applied_index, clock=clock)
        self.proposals = Proposals(
            settings, group=self.group, graft=self.graft, journal=self.journal, pump=self.pump, log_time=self.log_time
        )
        self.reads = ReadIndexes(group=self.group, graft=self.graft, pump=self.pump)
        self.transfers = Transfers(
            settings, self.timers, group=self.group, graft=self.graft, journal=self.journal, pump=self.pump,
            proposals=self.proposals, clock=clock,
        )  # fmt: skip
        self.preference = Preference(
            settings, self.timers, group=self.group, graft=self.graft, journal=self.journal, pump=self.pump,
            transfers=self.transfers, clock=clock,
        )  # fmt: skip
        self.members = MemberChanges(
            settings.node_id, self.timers, new_secret=settings.new_secret, group=self.group, graft=self.graft,
            journal=self.journal, pump=self.pump, transfers=self.transfers, applied_index=lambda: self.applied_index,
        )  # fmt: skip
        self.leader_side = LeaderSide(self.proposals, self.reads, self.members, self.transfers)
        self.forwards = Forwards(
            self.timers, graft=self.graft, clock=clock, side=self.leader_side, send=self._send,
            link_epoch=self.link_epoch, request_ids=self._request_ids,
        )  # fmt: skip
        self.snapshots = SnapshotDuties(
            settings, group=self.group, graft=self.graft, journal=self.journal, pump=self.pump, clock=clock,
            send=self._send, applied_index=lambda: self.applied_index, refusing=lambda: self.forwards.refusing,
        )  # fmt: skip

    # A turn --------------------------------------------------------------------------------------------------------

    def turn(self, events: Sequence[Event]) -> Turn:
        """Takes what arrived, ticks SyncObj, and says what must be durable and what may be sent after that."""
        assert self._turn is None, "a turn is open: complete it first"
        for event in events:
            self._take(event)
            self._note_role()  # one event may make us leader and the next one depose us: what waits must hear of both
        self.log_time.look()
        self.reads.close_rounds()
        self.graft.tick()
        self.graft.look_for_leader()
        self._role_log.look()
        self.majority.look(self.timers.timing.election_timeout_max_s)
        self._note_role()
        self.members.step()
        timing = self._auto_timing.step(self._clock.monotonic_s())
        if timing is not None:
            self.members.propose_timing(timing)
        self.preference.step()
        self.transfers.step()
        self.forwards.step()
        self.reads.open_round()
        self.pump.flush()
        truncate_from, append, hard_state = self.journal.take()
        to_apply, self._to_apply = tuple(self._to_apply), []
        frames, self._outbox = tuple(self._outbox), []
        write = TurnWrite(truncate_from, append, hard_state, to_apply, self._compact_to())
        assert self.applied_index <= self.graft.commit_index <= self.journal.last_index
        self._turn = Turn(write, frames, tuple(self._bad_links), tuple(self._lost_data))
        self._bad_links, self._lost_data = [], []
        return self._turn

    def complete(self, outcomes: Sequence[Sequence[store_pb2.Outcome]]) -> tuple[Outgoing, ...]:
        """The open turn is durable: answers callers, returns frames that answer peers' callers."""
        assert self._turn is not None, "no turn is open"
        write, self._turn = self._turn.write, None
        self.journal.committed(write.hard_state, write.compact_to)
        for entry, results in zip(write.apply, outcomes, strict=True):
            assert entry.index == self.applied_index + 1, (entry.index, self.applied_index)
            self.applied_index = entry.index
            self.proposals.settle(entry.index, entry.term, results)
            if is_group_change(entry.payload):
                self._group_changed(entry)
        if write.apply:
            self.freshness.applied(self.applied_index)
            self._observer.record(Signal.TURN_ENTRIES_APPLIED, len(write.apply))
        frames, self._outbox = tuple(self._outbox), []
        return frames

    def reborn(self, log: LogReader, applied_index: LogIndex) -> "Replica":
        """A new replica over a store that was replaced by a snapshot: as after a restart, with the links still up.

        Callers that wait at this one learn that their outcome is unknown. Between turns only.
        """
        assert self._turn is None, "a turn is open"
        assert not self.graft.is_leader, "a leader holds what it needs"
        self.proposals.lost_leadership()
        self.reads.lost_leadership()
        self.members.lost_leadership()
        self.forwards.fail_all("this node has taken over a snapshot meanwhile")
        self.transfers.abandon(NoLeader("this node has taken over a snapshot meanwhile"))
        successor = Replica(
            self.settings, log=log, applied_index=applied_index, clock=self._clock, dice=self._dice,
            observer=self._observer, request_ids=self._request_ids, timers=self.timers, majority=self.majority,
        )  # fmt: skip
        successor.on_role = self.on_role
        successor.forwards.refusing = self.forwards.refusing
        if self._role != successor.graft.role:
            self.on_role(successor.graft.role)
        for peer, epoch in self._epochs.items():
            successor._take(LinkUp(peer, epoch, self.members.directory_of(peer)))
        return successor

    def heartbeat_while_committing(self) -> tuple[Outgoing, ...]:
        """Frames that may leave although the open turn is not durable yet: they claim nothing that it decided."""
        durable = self.journal.durable_hard_state
        if self._turn is None or not self.graft.is_leader or durable.term != self.graft.term:
            return ()
        first_index = self._turn.write.compact_to or self.journal.first_index
        self.pump.heartbeat_of_durable_state(durable.commit_index, first_index)
        frames, self._outbox = tuple(self._outbox), []
        return frames

    def refuse_queued(self, why: str) -> tuple[Outgoing, ...]:
        """The disk is full: writes that wait for a turn surely did not happen, and nobody is heard until there is room.

        Returns frames that say so to peers' callers. They may leave although a turn is open, and so may what else was
        said since it began: it depends on no write.
        """
        self.graft.hears_nobody()
        self.proposals.fail_queued(StorageFull(f"this node accepts no writes: {why}", retry_after_s=1.0))
        frames, self._outbox = tuple(self._outbox), []
        return frames

    def refuse_forwards(self, frames: Sequence[Frame]) -> tuple[Outgoing, ...]:
        """Answers to forwarded calls among frames that no turn will take; the rest is lost, as on a link that fell."""
        refused: list[Outgoing] = []
        for peer, epoch, payload in frames:
            with contextlib.suppress(Malformed):
                if is_question(message := decode(payload)) and self._epochs.get(peer) == epoch:
                    refused.append(Outgoing(peer, epoch, refusal(message, StorageFull("")).SerializeToString()))
        return tuple(refused)

    def next_due_s(self) -> float:
        """When a turn is due even if nothing arrives, by the monotonic clock."""
        if self.graft.is_leader:
            if not self.group.other_voters and self.graft.commit_index < self.journal.last_index:
                return self._clock.monotonic_s()  # alone, what is durable is committed: no answer will wake us
            return self.graft.heartbeat_due_s + TIMER_SLACK_S
        due_s = self.graft.election_deadline_s
        now_s = self._clock.monotonic_s()
        if due_s <= now_s:  # campaigning: SyncObj asks us every turn, so choose when the answer can change
            due_s = max(self._pre_votes.retry_due_s(), now_s + self.timers.timing.heartbeat_s)
        return due_s + TIMER_SLACK_S

    def link_epoch(self, peer: NodeId) -> int | None:
        """Epoch of the link to `peer`, None if it is down."""
        return self._epochs.get(peer)

    @property
    def linked(self) -> frozenset[NodeId]:
        """Peers that can be reached."""
        return frozenset(self._epochs)

    def staleness_s(self) -> float | None:
        """Upper bound of the age of the applied state, seconds; None as long as nothing is known."""
        contact_s = self.pump.quorum_contact_s()  # None at a follower
        if contact_s is not None:
            self.freshness.covers(self.graft.commit_index, contact_s)
        return self.freshness.staleness_s(self._clock.monotonic_s())

    # graft.EngineHooks ---------------------------------------------------------------------------------------------

    def may_campaign(self) -> bool:
        """Asked once the election deadline has passed. group.py says why everything committed must be applied first."""
        return self.applied_index == self.graft.commit_index and self._pre_votes.may_campaign(self.linked)

    def replicate(self) -> None:
        """The pump sends appends before this turn ends."""
        self.pump.want()

    def admit_proposals(self) -> None:
        """Appends queued commands. A new role must be known before anything is appended under it."""
        self._note_role()
        self.proposals.admit()

    def committed(self, payload: bytes) -> None:
        """Collects what this turn applies."""
        index = LogIndex(self.graft.last_applied + 1)
        entry = self.journal.entry(index)
        assert entry.payload == payload
        if is_group_change(payload):
            self.group.check_origin(payload, index)
        self._to_apply.append(entry)

    def outgoing(self, peer: NodeId, message: dict[str, object]) -> None:
        """The guard turns SyncObj's message into one for the wire."""
        self._guard.outgoing(peer, message)

    # -----------------------------------------------------------------------------------------------------------------

    def _send(self, peer: NodeId, message: raft_pb2.RaftMessage) -> None:
        epoch = self._epochs.get(peer)
        if epoch is not None:
            self._outbox.append(Outgoing(peer, epoch, message.SerializeToString()))

    def _compact_to(self) -> LogIndex | None:
        journal = self.journal
        log_bytes = journal.durable_bytes() if self._compaction.wants_size(journal.last_index) else None
        return self._compaction.first_to_keep(journal.first_index, journal.last_index, self.applied_index, log_bytes)

    def _group_changed(self, entry: Entry) -> None:
        change = decode_group_change(entry.payload)
        if change is None:
            return  # rejected, the same on every node
        if change.HasField("timing"):
            self._take_timing(change.timing)
            return
        change.membership.index = entry.index
        anew = self.group.take(membership_of(change.membership))
        self._set_members(anew)
        self.pump.members_changed(anew)
        self.members.applied(entry.index)
        if self.graft.is_leader and not self.group.is_voter:  # an earlier leader proposed that
            self.graft.step_down()
            self._note_role()

    def _take_timing(self, agreed: store_pb2.Timing) -> None:
        """A node whose file names its timers keeps to them, whatever others agree on: safety needs no two alike."""
        if self.settings.auto_timing:
            self.timers.set(timing_of_wire(agreed))

    def _set_members(self, anew: Collection[NodeId] = ()) -> None:
        voters = self.group.other_voters
        self.graft.set_members(voters, set(self.group.others) - voters, anew)

    def _take(self, event: Event) -> None:
        match event:
            case LinkUp(peer, epoch, directory_id):
                if peer in self._epochs:
                    self._drop_link(peer)  # superseded: what was asked on the old link will not be answered
                self._epochs[peer] = epoch
                self.members.linked(peer, directory_id)
                self.graft.link_up(peer)
                self.pump.link_up(peer)
                self.majority.link_up(peer)
            case RefusedBy(peer, founder):
                self.group.note_refusal(peer, founder)
                if self.graft.role != "follower" and not self.group.is_voter:
                    self.graft.step_down()
            case LinkDown(peer, epoch):
                if self._epochs.get(peer) == epoch:
                    self._drop_link(peer)
            case Frame(peer, epoch, payload):
                if self._epochs.get(peer) != epoch:
                    self._observer.count(Signal.FRAMES_DROPPED, cause="superseded")  # fault 12
                    return
                self.group.heard_from(peer)
                try:
                    self._dispatch(peer, decode(payload))
                except Malformed as problem:
                    self._observer.count(Signal.FRAMES_DROPPED, cause="malformed")
                    self._bad_links.append(BadLink(peer, epoch, str(problem)))
                    self._drop_link(peer)
                except LostData as problem:
                    self._lost_data.append(BadLink(peer, epoch, str(problem)))
                    self._drop_link(peer)

    def _drop_link(self, peer: NodeId) -> None:
        del self._epochs[peer]
        self.graft.link_down(peer)
        self.pump.link_down(peer)
        self.majority.link_down(peer)
        self.members.unlinked(peer)
        self.forwards.link_down(peer)

    def _note_role(self) -> None:
        """Follows SyncObj's role; losing leadership settles what waits for it."""
        role = self.graft.role
        if role == self._role:
            return
        before, self._role = self._role, role
        if role == "leader":
            self.pump.became_leader()
            self.members.became_leader()
        if before == "leader":
            self.proposals.lost_leadership()
            self.reads.lost_leadership()
            self.members.lost_leadership()
        self._observer.count(Signal.ROLE_CHANGES, role=role)
        self.on_role(role)
