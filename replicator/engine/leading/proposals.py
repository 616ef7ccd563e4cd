"""Commands on their way into the log, and the callers that wait for their outcomes.

One entry carries the commands of one turn: group commit by construction. Replaces SyncObj's queue, which takes one
pickled command an entry and forwards pickles to the leader.
A command is admitted only if it is expected to be applied in time (`core/backlog.py`), and none is proposed once its
deadline is over: nobody would hear of it, and those that can still be answered would wait for it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from replicator.core.backlog import Backlog, BacklogLimits
from replicator.engine.core import ReplicaCore
from replicator.engine.leading.log_time import LogTime
from replicator.engine.raft.message_bounds import COMMAND_BYTES_MAX
from replicator.machine.codec import encode_entry
from replicator.model.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ReplicatorError,
)
from replicator.model.ids import LogIndex, Term
from replicator.v1 import store_pb2

ENTRY_BYTES_MAX: Final = 1 << 20  # an entry is closed once it holds this much; one command may exceed it
ENTRY_COMMANDS_MAX: Final = 128
# Appended by one turn, or little more: neither its commit nor its answers may outlast an election timeout.
TURN_BYTES_MAX: Final = 4 << 20
TURN_COMMANDS_MAX: Final = 128

ProposalSink = Callable[[store_pb2.BatchOutcome | ReplicatorError], None]


@dataclass(slots=True)
class Proposal:
    """One command. `cancelled` is honoured until the command is in the log; from then on its outcome is unknown.

    deadline_s: on the monotonic clock; after it the command is not proposed any more.
    """

    command: bytes
    sink: ProposalSink
    deadline_s: float
    admitted: bool = False
    cancelled: bool = False

    def is_wanted(self, now_s: float) -> bool:
        """Whether it may still be proposed."""
        return not self.cancelled and now_s < self.deadline_s


class Proposals:
    """Leader side: queue, admission into the log, waiting table."""

    def __init__(self, core: ReplicaCore, log_time: LogTime) -> None:
        self._settings, self._group, self._graft = core.settings, core.group, core.graft
        self._journal, self._pump, self._log_time = core.journal, core.pump, log_time
        self._clock = core.clock
        self._backlog = Backlog(BacklogLimits(floor=core.settings.backlog_bytes))
        self._queue: deque[Proposal] = deque()
        self._queued_bytes = 0
        self._waiting: dict[LogIndex, tuple[Term, int, list[Proposal]]] = {}
        self._waiting_bytes = 0
        self._waiting_commands = 0
        self.paused = False

    @property
    def depth(self) -> int:
        """Commands queued or in the log and not yet applied."""
        return len(self._queue) + self._waiting_commands

    def offer(self, command: bytes, sink: ProposalSink, timeout_s: float = inf) -> Proposal:
        """Queues a command for the next turn. Leader only. timeout_s: what its caller has left.

        Raises NotLeader, Overloaded, DeadlineExceeded or InvalidArgument: nothing was proposed.
        """
        refuse_oversized(command)
        if not self._graft.is_leader:
            raise NotLeader("this node is not the leader")
        if (
            len(self._queue) >= self._settings.proposals_queued_max
            or self._queued_bytes + len(command) > self._settings.proposals_queued_bytes_max
        ):
            raise self._overloaded(len(command), "the limit")
        now_s = self._clock.monotonic_s()
        if not self._backlog.admits(timeout_s, now_s):
            if timeout_s <= 0.0:
                raise _expired()
            raise self._overloaded(len(command), "more than can be committed in time")
        proposal = Proposal(command, sink, now_s + timeout_s)
        self._queue.append(proposal)
        self._queued_bytes += len(command)
        self._backlog.begin(len(command), now_s)
        return proposal

    def admit(self) -> None:
        """Appends queued commands to the log, within the bounds of a turn and of what may be uncommitted.

        None before the group is founded, here and durably: a token of what is acknowledged names the founder.
        """
        self._drop_expired()
        turn_bytes_max = self._waiting_bytes + TURN_BYTES_MAX
        turn_commands_max = self._waiting_commands + TURN_COMMANDS_MAX
        while (
            self._queue
            and not self.paused
            and self._group.membership.founder
            and self._graft.is_leader
            and self._waiting_commands < turn_commands_max
            and self._waiting_bytes < min(turn_bytes_max, self._settings.uncommitted_bytes_max)
        ):
            self._append_entry()

    def settle(self, index: LogIndex, term: Term, outcomes: Sequence[store_pb2.BatchOutcome]) -> None:
        """The entry at (index, term) is applied and durable: answers the callers that wait for that index."""
        waiting = self._waiting.pop(index, None)
        if waiting is None:
            return
        own_term, size, proposals = waiting
        self._waiting_bytes -= size
        self._waiting_commands -= len(proposals)
        self._backlog.end(sum(len(proposal.command) for proposal in proposals), self._clock.monotonic_s())
        if own_term == term:
            for proposal, outcome in zip(proposals, outcomes, strict=True):
                proposal.sink(outcome)
        else:  # another leader's entry took the place
            _fail(proposals, _unknown())

    def lost_leadership(self) -> None:
        """A later leader may still commit what is in the log; what is queued was surely not proposed."""
        waiting, self._waiting = self._waiting, {}
        self._waiting_bytes = self._waiting_commands = 0
        for _term, _size, proposals in waiting.values():
            self._backlog.give_up(sum(len(proposal.command) for proposal in proposals))
            _fail(proposals, _unknown())
        self.fail_queued(NotLeader("leadership was lost before the write was proposed"))

    def fail_queued(self, error: ReplicatorError) -> None:
        """Nothing that is only queued will be proposed."""
        self._backlog.give_up(self._queued_bytes)
        queue, self._queue, self._queued_bytes = self._queue, deque(), 0
        _fail(queue, error)

    def fail_all(self, error: ReplicatorError) -> None:
        """The node stops: queued writes get `error`, those in the log are unknown."""
        self.fail_queued(error)
        self.lost_leadership()

    def _append_entry(self) -> None:
        proposals: list[Proposal] = []
        size, now_s = 0, self._clock.monotonic_s()
        while self._queue and len(proposals) < ENTRY_COMMANDS_MAX and size < ENTRY_BYTES_MAX:
            if proposals and size + len(self._queue[0].command) > ENTRY_BYTES_MAX:
                break
            proposal = self._take_first()
            if proposal.is_wanted(now_s):
                proposal.admitted = True
                proposals.append(proposal)
                size += len(proposal.command)
            else:
                self._drop(proposal)
        if not proposals:
            return
        index, term = LogIndex(self._journal.last_index + 1), self._graft.term
        time_ms, wall_ms = self._log_time.stamp(term)
        payload = encode_entry(time_ms, [proposal.command for proposal in proposals], wall_ms)
        self._journal.add(payload, index, term)
        self._waiting[index] = (term, len(payload), proposals)
        self._waiting_bytes += len(payload)
        self._waiting_commands += len(proposals)
        self._pump.want()

    def _drop_expired(self) -> None:
        """Tells those at the head of the queue also while nothing can be appended."""
        now_s = self._clock.monotonic_s()
        while self._queue and not self._queue[0].is_wanted(now_s):
            self._drop(self._take_first())

    def _take_first(self) -> Proposal:
        proposal = self._queue.popleft()
        self._queued_bytes -= len(proposal.command)
        return proposal

    def _drop(self, proposal: Proposal) -> None:
        self._backlog.give_up(len(proposal.command))
        _fail((proposal,), _expired())

    def _overloaded(self, size: int, why: str) -> Overloaded:
        return Overloaded(
            f"{self.depth} writes ({self._backlog.work} bytes) are queued or uncommitted at the leader, {why}; slow "
            "down, or allow more time",
            retry_after_s=self._backlog.retry_after_s(size, self._clock.monotonic_s()),
        )


def refuse_oversized(command: bytes) -> None:
    """An entry that no link can carry would stop the replication of everything after it. Raises InvalidArgument."""
    if len(command) > COMMAND_BYTES_MAX:
        raise InvalidArgument(
            f"a command has at most {COMMAND_BYTES_MAX} bytes, got {len(command)}; split it into smaller writes",
            metadata={"limit_bytes": str(COMMAND_BYTES_MAX)},
        )


def _expired() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline passed before the write was proposed; nothing happened")


def _unknown() -> OutcomeUnknown:
    return OutcomeUnknown(
        "leadership was lost while the write was being replicated: it may or may not have happened; "
        "retry under the same write id",
        retry_after_s=0.05,
    )


def _fail(proposals: Sequence[Proposal], error: ReplicatorError) -> None:
    for proposal in proposals:
        if not proposal.cancelled:
            proposal.sink(error)
