"""A point in the log that a linearizable read must reach: the commit index of a leader that still led when asked.

Ongaro 2014, 6.4: the leader notes its commit index, then hears from a majority in its term about something that it
sent after the read arrived; no other leader can have committed anything by then. All reads of a turn share one round,
and the round is any append, so a busy leader confirms reads at no cost of its own (fault 11).
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from replicator.engine.core import ReplicaCore
from replicator.model.errors import NotLeader, Overloaded, ReplicatorError
from replicator.model.ids import LogIndex, NodeId

WAITING_MAX: Final = 65_536

ReadSink = Callable[[LogIndex | ReplicatorError], None]


class _Round(NamedTuple):
    commit_index: LogIndex
    sent: dict[NodeId, int]  # sequences that do not count: they left before the reads arrived
    sinks: list[ReadSink]


class ReadIndexes:
    """Leader side. Followers ask it by message."""

    def __init__(self, core: ReplicaCore) -> None:
        self._group, self._graft, self._pump = core.group, core.graft, core.pump
        self._arrived: list[ReadSink] = []
        self._rounds: list[_Round] = []
        self._waiting = 0

    def ask(self, sink: ReadSink) -> None:
        """Answers `sink` once: with an index, or with NotLeader or Overloaded. Leader only."""
        if not self._graft.is_leader:
            sink(NotLeader("this node is no longer the leader"))
        elif self._waiting >= WAITING_MAX:
            sink(Overloaded(f"{WAITING_MAX} linearizable reads are waiting already", retry_after_s=0.05))
        else:
            self._waiting += 1
            self._arrived.append(sink)

    def open_round(self) -> None:
        """Called in each turn before appends go out: reads that arrived so far are confirmed by those appends."""
        if self._arrived and self._pump.knows_commit_index():
            sent = {peer: progress.sent for peer, progress in self._pump.progress.items()}
            self._rounds.append(_Round(self._graft.commit_index, sent, self._arrived))
            self._arrived = []
            self._pump.want()

    def close_rounds(self) -> None:
        """Called in each turn after messages were taken: answers the reads that a majority has confirmed."""
        while self._rounds and self._is_confirmed(self._rounds[0]):
            confirmed = self._rounds.pop(0)
            self._answer(confirmed.sinks, confirmed.commit_index)

    def lost_leadership(self) -> None:
        """Fails everything that waits; a read is safe to repeat."""
        error = NotLeader("leadership was lost before the read was confirmed")
        rounds, self._rounds, arrived, self._arrived = self._rounds, [], self._arrived, []
        for waiting in rounds:
            self._answer(waiting.sinks, error)
        self._answer(arrived, error)

    def _is_confirmed(self, waiting: _Round) -> bool:
        sent = waiting.sent  # a member added since is not in it: it confirms the next round
        heard = [
            peer for peer, progress in self._pump.progress.items() if progress.acked > sent.get(peer, progress.sent)
        ]
        return self._group.is_majority_with(heard)

    def _answer(self, sinks: list[ReadSink], result: LogIndex | ReplicatorError) -> None:
        self._waiting -= len(sinks)
        for sink in sinks:
            sink(result)
