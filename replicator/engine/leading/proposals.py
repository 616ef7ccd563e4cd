"""Commands on their way into the log, and the callers that wait for their outcomes.

One entry carries the commands of one turn: group commit by construction. Replaces SyncObj's queue, which takes one
pickled command an entry and forwards pickles to the leader.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from replicator.engine.leading.log_time import LogTime
from replicator.engine.raft.group import Group
from replicator.engine.raft.message_bounds import COMMAND_BYTES_MAX
from replicator.engine.raft.pump import Pump
from replicator.engine.settings import EngineSettings
from replicator.engine.stock.graft import Graft
from replicator.engine.stock.journal import TurnJournal
from replicator.machine.codec import encode_batch
from replicator.model.errors import InvalidArgument, NotLeader, OutcomeUnknown, Overloaded, ReplicatorError
from replicator.model.ids import LogIndex, Term
from replicator.v1 import store_pb2

ENTRY_BYTES_MAX: Final = 1 << 20  # an entry is closed once it holds this much; one command may exceed it
ENTRY_COMMANDS_MAX: Final = 1024

ProposalSink = Callable[[store_pb2.Outcome | ReplicatorError], None]


@dataclass(slots=True)
class Proposal:
    """One command. `cancelled` is honoured until the command is in the log; from then on its outcome is unknown."""

    command: bytes
    sink: ProposalSink
    admitted: bool = False
    cancelled: bool = False


class Proposals:
    """Leader side: queue, admission into the log, waiting table."""

    def __init__(
        self,
        settings: EngineSettings,
        *,
        group: Group,
        graft: Graft,
        journal: TurnJournal,
        pump: Pump,
        log_time: LogTime,
    ) -> None:
        self._settings, self._group, self._graft, self._journal = settings, group, graft, journal
        self._pump, self._log_time = pump, log_time
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

    def offer(self, command: bytes, sink: ProposalSink) -> Proposal:
        """Queues a command for the next turn. Leader only.

        Raises NotLeader, Overloaded or InvalidArgument: nothing was proposed.
        """
        refuse_oversized(command)
        if not self._graft.is_leader:
            raise NotLeader("this node is not the leader")
        if (
            len(self._queue) >= self._settings.proposals_queued_max
            or self._queued_bytes + len(command) > self._settings.proposals_queued_bytes_max
        ):
            raise Overloaded(
                f"{len(self._queue)} writes ({self._queued_bytes} bytes) are already queued at the leader; slow down",
                retry_after_s=0.05,
            )
        proposal = Proposal(command, sink)
        self._queue.append(proposal)
        self._queued_bytes += len(command)
        return proposal

    def admit(self) -> None:
        """Appends queued commands to the log, within the bound of what may be uncommitted.

        None before the group is founded, here and durably: a token of what is acknowledged names the founder.
        """
        while (
            self._queue
            and not self.paused
            and self._group.membership.founder
            and self._graft.is_leader
            and self._waiting_bytes < self._settings.uncommitted_bytes_max
        ):
            self._append_entry()

    def settle(self, index: LogIndex, term: Term, outcomes: Sequence[store_pb2.Outcome]) -> None:
        """The entry at (index, term) is applied and durable: answers the callers that wait for that index."""
        waiting = self._waiting.pop(index, None)
        if waiting is None:
            return
        own_term, size, proposals = waiting
        self._waiting_bytes -= size
        self._waiting_commands -= len(proposals)
        if own_term == term:
            for proposal, outcome in zip(proposals, outcomes, strict=True):
                proposal.sink(outcome)
        else:  # another leader's entry took the place
            _fail(proposals, _unknown())

    def lost_leadership(self) -> None:
        """A later leader may still commit what is in the log; what is queued was surely not proposed."""
        queue, self._queue, self._queued_bytes = self._queue, deque(), 0
        waiting, self._waiting = self._waiting, {}
        self._waiting_bytes = self._waiting_commands = 0
        for _term, _size, proposals in waiting.values():
            _fail(proposals, _unknown())
        _fail(queue, NotLeader("leadership was lost before the write was proposed"))

    def fail_queued(self, error: ReplicatorError) -> None:
        """Nothing that is only queued will be proposed."""
        queue, self._queue, self._queued_bytes = self._queue, deque(), 0
        _fail(queue, error)

    def fail_all(self, error: ReplicatorError) -> None:
        """The node stops: queued writes get `error`, those in the log are unknown."""
        self.fail_queued(error)
        self.lost_leadership()

    def _append_entry(self) -> None:
        proposals: list[Proposal] = []
        size = 0
        while self._queue and len(proposals) < ENTRY_COMMANDS_MAX and size < ENTRY_BYTES_MAX:
            if proposals and size + len(self._queue[0].command) > ENTRY_BYTES_MAX:
                break
            proposal = self._queue.popleft()
            self._queued_bytes -= len(proposal.command)
            if not proposal.cancelled:
                proposal.admitted = True
                proposals.append(proposal)
                size += len(proposal.command)
        if not proposals:
            return
        index, term = LogIndex(self._journal.last_index + 1), self._graft.term
        time_ms, wall_ms = self._log_time.stamp(term)
        payload = encode_batch(time_ms, [proposal.command for proposal in proposals], wall_ms)
        self._journal.add(payload, index, term)
        self._waiting[index] = (term, len(payload), proposals)
        self._waiting_bytes += len(payload)
        self._waiting_commands += len(proposals)
        self._pump.want()


def refuse_oversized(command: bytes) -> None:
    """An entry that no link can carry would stop the replication of everything after it. Raises InvalidArgument."""
    if len(command) > COMMAND_BYTES_MAX:
        raise InvalidArgument(
            f"a command has at most {COMMAND_BYTES_MAX} bytes, got {len(command)}; split it into smaller writes",
            metadata={"limit_bytes": str(COMMAND_BYTES_MAX)},
        )


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
