"""One Raft node without sockets, disks or a loop: events in, a turn's writes and frames out.

Contract with its driver (the asyncio loop of turns.py, or a simulation), for every turn:
1. hand all that arrived to `turn`, in order of arrival; at most one turn is open at a time;
2. send `Turn.early_frames`, or lose them; they claim nothing that the turn has decided;
3. apply `Turn.write.apply` to the store, call `applied` with the outcomes, and send the frames that it returns;
4. if `Turn.must_commit`, make `Turn.write` durable, whole, with all that is applied; 3 may come before it or within it;
5. call `committed`, and only now send the frames that it returns;
6. if the write cannot be made durable, send no more: stop, or repeat the same write later.
Answers to callers are given by `applied` or by later turns. Between 3 and 5 the store may be ahead of the disk, never
of the log.
"""

import contextlib
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from replicator.core.compaction import CompactionPolicy
from replicator.core.freshness import Freshness
from replicator.engine.arrivals import Arrivals
from replicator.engine.core import ReplicaCore
from replicator.engine.dispatch import Dispatch
from replicator.engine.events import Event, Frame, LinkUp, Outgoing, Turn
from replicator.engine.group_changes import GroupChanges
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
from replicator.engine.raft.guard import Guard
from replicator.engine.raft.majority import Majority
from replicator.engine.raft.message_bounds import Malformed
from replicator.engine.raft.messages import decode, encode
from replicator.engine.raft.pre_vote import PreVotes
from replicator.engine.raft.role_log import RoleLog
from replicator.engine.raft.state_check import StateCheck
from replicator.engine.raft.timers import Timers
from replicator.engine.settings import EngineSettings
from replicator.engine.snapshots.duties import SnapshotDuties
from replicator.engine.stock.journal import LogReader
from replicator.engine.write_behind import WriteBehind
from replicator.machine.codec import is_group_change
from replicator.model.clock import Clock
from replicator.model.errors import NoLeader, ReplicatorError, StorageFull
from replicator.model.ids import GROUP_LABEL, LogIndex, NodeId
from replicator.model.log import Entry, TurnWrite
from replicator.model.members import Membership
from replicator.model.observe import Observer, Signal
from replicator.model.status import EngineStatus
from replicator.v1 import store_pb2

TIMER_SLACK_S: Final = 0.001  # SyncObj's timers fire strictly after their time


class Turning(Protocol):
    """What takes turns: turns.py."""

    @property
    def replica(self) -> "Replica":
        """The present one: installing a snapshot replaces it."""
        ...

    def wake(self) -> None:
        """There is something to do."""
        ...


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
        self.settings, self._dice, self._observer = settings, dice, observer
        self._request_ids = request_ids if request_ids is not None else itertools.count(1)
        self._compaction = CompactionPolicy(entries_max=settings.log_entries_max, bytes_max=settings.log_bytes_max)
        self._to_apply: list[Entry] = []
        self._turn: Turn | None = None
        self._is_applied = False  # what the open turn applies
        self._is_draining = False
        self.freshness = Freshness(applied_index)
        core = ReplicaCore.assemble(
            settings, log=log, applied_index=applied_index, clock=clock, dice=dice, hooks=self, timers=timers
        )
        self._clock, self.timers, self.group, self.graft = core.clock, core.timers, core.group, core.graft
        self.journal, self.pump, self._links = core.journal, core.pump, core.links
        self.majority = majority or Majority(clock)
        self.majority.bind(self.group, self.graft)
        self._role, self._role_log = self.graft.role, RoleLog(settings.node_id, self.graft)
        self._auto_timing = TimingChanges(core)
        self._pre_votes = PreVotes(core, dice)
        self.state_check = StateCheck(core, log, observer)
        self._guard = Guard(
            core, pre_votes=self._pre_votes, freshness=self.freshness, state_check=self.state_check, observer=observer
        )
        self._write_behind = WriteBehind(core)
        self.log_time = LogTime(core, log)
        self.proposals = Proposals(core, self.log_time)
        self.reads = ReadIndexes(core)
        self.transfers = Transfers(core, self.proposals)
        self.preference = Preference(core, self.transfers)
        self.members = MemberChanges(core, self.transfers)
        self.leader_side = LeaderSide(self.proposals, self.reads, self.members, self.transfers)
        self.forwards = Forwards(core, self.leader_side, self._request_ids)
        self.snapshots = SnapshotDuties(core)
        self._arrivals = Arrivals(
            core, Dispatch(self._guard, self._pre_votes, self.forwards, self.snapshots),
            members=self.members, forwards=self.forwards, majority=self.majority, observer=observer,
        )  # fmt: skip
        self._group_changes = GroupChanges(core, self.members)
        if (agreed := log.timing()) is not None:
            self._group_changes.take_timing(agreed)

    # A turn --------------------------------------------------------------------------------------------------------

    def turn(self, events: Sequence[Event]) -> Turn:
        """Takes what arrived, ticks SyncObj, and says what must be durable and what may be sent after that."""
        assert self._turn is None, "a turn is open"
        for event in events:
            self._arrivals.take(event)
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
        write = TurnWrite(truncate_from, append, hard_state, to_apply, self._compact_to())
        self._check(write)
        self._turn = Turn(
            write, self._links.take(), self._links.take_early(), self._write_behind.must_commit(write),
            *self._arrivals.take_dropped(),
        )  # fmt: skip
        return self._turn

    def applied(self, outcomes: Sequence[Sequence[store_pb2.BatchOutcome]]) -> tuple[Outgoing, ...]:
        """What the open turn applies has taken effect in the store: answers callers, returns answers to peers' callers.

        May come before `committed`, and the frames may leave then: what is applied is on a majority's disks, and on
        this one by an earlier turn. A change of the group takes effect here; no turn acts on it before it is durable.
        """
        assert self._turn is not None, "no turn is open"
        assert not self._is_applied, "a turn is applied once"
        self._is_applied = True
        for entry, results in zip(self._turn.write.apply, outcomes, strict=True):
            assert entry.index == self.applied_index + 1, (entry.index, self.applied_index)
            self.journal.applied_index = entry.index
            self.proposals.settle(entry.index, entry.term, results)
            self._group_changes.applied(entry)
        self._note_role()
        if self._turn.write.apply:
            self.freshness.applied(self.applied_index)
            self._observer.record(Signal.TURN_ENTRIES_APPLIED, len(self._turn.write.apply), group=GROUP_LABEL)
        return self._links.take_early()

    def committed(self) -> tuple[Outgoing, ...]:
        """The open turn is durable, with all that it applied. Ends it; returns the frames that waited for that."""
        assert self._turn is not None, "no turn is open"
        assert self._is_applied, "first what the turn applies"
        turn, self._turn, self._is_applied = self._turn, None, False
        if turn.must_commit:
            self.journal.committed(turn.write.hard_state, turn.write.compact_to)
        return (*turn.frames, *self._links.take(), *self._links.take_early())

    def reborn(self, log: LogReader, applied_index: LogIndex) -> "Replica":
        """A new replica over a store that was replaced by a snapshot: as after a restart, with the links still up.

        Callers that wait at this one learn that their outcome is unknown. Between turns only.
        """
        assert self._turn is None, "a turn is open"
        assert not self.graft.is_leader, "a leader holds what it needs"
        self.fail_all(NoLeader("this node has taken over a snapshot meanwhile"))
        successor = Replica(
            self.settings, log=log, applied_index=applied_index, clock=self._clock, dice=self._dice,
            observer=self._observer, request_ids=self._request_ids, timers=self.timers, majority=self.majority,
        )  # fmt: skip
        if self._is_draining:
            successor.drain()
        if self._role != successor.graft.role:
            self._observer.count(Signal.ROLE_CHANGES, role=successor.graft.role, group=GROUP_LABEL)
        for peer, epoch in self._links.epochs.items():
            successor._arrivals.take(LinkUp(peer, epoch, self.members.directory_of(peer)))
        return successor

    def heartbeat_while_committing(self) -> tuple[Outgoing, ...]:
        """Frames that may leave although the open turn is not durable yet: they claim nothing that it decided."""
        durable = self.journal.durable_hard_state
        if self._turn is None or not self.graft.is_leader or durable.term != self.graft.term:
            return ()
        first_index = self._turn.write.compact_to or self.journal.first_index
        self.pump.heartbeat_of_durable_state(durable.commit_index, first_index)
        return self._links.take_early()

    def refuse_queued(self, why: str) -> tuple[Outgoing, ...]:
        """The disk is full: writes that wait for a turn surely did not happen, and nobody is heard until there is room.

        Returns frames that say so to peers' callers. They may leave although a turn is open, and so may what else was
        said since it began: it depends on no write.
        """
        self.graft.hears_nobody()
        self.proposals.fail_queued(StorageFull(f"this node accepts no writes: {why}", retry_after_s=1.0))
        return self._links.take_early()

    def refuse_forwards(self, frames: Sequence[Frame]) -> tuple[Outgoing, ...]:
        """Answers to forwarded calls among frames that no turn will take; the rest is lost, as on a link that fell."""
        refused: list[Outgoing] = []
        for peer, epoch, payload in frames:
            with contextlib.suppress(Malformed):
                if is_question(message := decode(payload)) and self._links.epoch(peer) == epoch:
                    refused.append(Outgoing(peer, epoch, encode(refusal(message, StorageFull(""))), for_caller=True))
        return tuple(refused)

    def _check(self, write: TurnWrite) -> None:
        """Invariants of docs/raft.md, "A turn": what is only in memory is neither applied nor counted."""
        durable, commit = self.journal.durable_index, self.graft.commit_index
        assert self.applied_index <= commit <= self.journal.last_index
        assert commit <= durable or not self.graft.is_leader, (commit, durable)
        assert not write.apply or write.apply[-1].index <= durable, (write.apply[-1], durable)

    def store_soon(self) -> None:
        """The next turn commits whatever has changed: somebody waits for it, or the node ends."""
        self._write_behind.hurry()

    def unwritten(self) -> TurnWrite | None:
        """What has changed and waits for a later turn's commit; None if nothing does. Between turns, before the end."""
        assert self._turn is None, "a turn is open"
        if not self._write_behind.waits:
            return None
        truncate_from, append, hard_state = self.journal.take()
        assert truncate_from is None
        assert not append
        return TurnWrite(hard_state=hard_state)

    def drain(self) -> None:
        """From now on others get ShuttingDown for writes that they forward, and no snapshots."""
        self._is_draining = self.forwards.refusing = self.snapshots.refusing = True

    def fail_all(self, error: ReplicatorError) -> None:
        """No caller of this replica waits any longer: what may have happened is unknown, the rest gets `error`."""
        self.proposals.fail_all(error)
        self.reads.lost_leadership()
        self.members.lost_leadership()
        self.forwards.fail_all(error.message)
        self.transfers.abandon(error)

    def next_due_s(self) -> float:
        """When a turn is due even if nothing arrives, by the monotonic clock."""
        waits_for_disk = self.graft.last_applied < min(self.graft.commit_index, self.journal.durable_index)
        if waits_for_disk or self.pump.can_commit():
            return self._clock.monotonic_s()
        return min(self._write_behind.due_s(), self._timers_due_s())

    def _timers_due_s(self) -> float:
        if self.graft.is_leader:
            return self.graft.heartbeat_due_s + TIMER_SLACK_S
        due_s = self.graft.election_deadline_s
        now_s = self._clock.monotonic_s()
        if due_s <= now_s:  # campaigning: SyncObj asks us every turn, so choose when the answer can change
            due_s = max(self._pre_votes.retry_due_s(), now_s + self.timers.timing.heartbeat_s)
        return due_s + TIMER_SLACK_S

    def link_epoch(self, peer: NodeId) -> int | None:
        """Epoch of the link to `peer`, None if it is down."""
        return self._links.epoch(peer)

    @property
    def linked(self) -> frozenset[NodeId]:
        """Peers that can be reached."""
        return self._links.peers

    @property
    def applied_index(self) -> LogIndex:
        """Of the store as it is served."""
        return self.journal.applied_index

    @property
    def membership(self) -> Membership:
        """As applied here."""
        return self.group.membership

    @property
    def commit_index(self) -> LogIndex:
        """Committed, as far as this node knows."""
        return self.graft.commit_index

    @property
    def is_leader(self) -> bool:
        """In this node's opinion; another node may have been elected since."""
        return self.graft.is_leader

    def status(self, read_only_reason: str, *, snapshot_problem: str = "") -> EngineStatus:
        """What this node knows now. read_only_reason: empty if the disk has room; see EngineStatus."""
        graft, group, journal = self.graft, self.group, self.journal
        leader, connected = graft.leader_in_sight, self.pump.not_silent() if graft.is_leader else self.linked
        return EngineStatus(
            role=graft.role,
            term=graft.term,
            leader_id=leader or "",
            commit_index=graft.commit_index,
            applied_index=self.applied_index,
            last_index=journal.last_index,
            read_only_reason=read_only_reason,
            membership=group.membership.without_secret(),
            peers=tuple(self.pump.peer_progress(peer, connected=peer in connected) for peer in group.others),
            no_majority=self.majority.problem(),
            state_difference=self.state_check.problem(),
            refused_by="" if leader else min(group.refused_by, default=""),
            log_time_ms=self.log_time.now_ms(),
            snapshot_problem=snapshot_problem,
        )

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
        """A heartbeat is due, or a commit index is new: that one can wait for entries which carry it."""
        if self._clock.monotonic_s() > self.graft.heartbeat_due_s:
            self.pump.want()
        else:
            self.pump.want_soon()

    def admit_proposals(self) -> None:
        """Appends queued commands. A new role must be known before anything is appended under it."""
        self._note_role()
        self.proposals.admit()

    def entry_committed(self, payload: bytes) -> None:
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

    def _compact_to(self) -> LogIndex | None:
        journal = self.journal
        log_bytes = journal.durable_bytes() if self._compaction.wants_size(journal.last_index) else None
        stored_index = min(self.applied_index, journal.stored_index())
        return self._compaction.first_to_keep(journal.first_index, journal.last_index, stored_index, log_bytes)

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
        self._observer.count(Signal.ROLE_CHANGES, role=role, group=GROUP_LABEL)
