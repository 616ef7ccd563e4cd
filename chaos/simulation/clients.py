"""Simulated clients: write with retries under one write id, read linearizably, and hold the cluster to its answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.simulation.node import SimNode
from chaos.simulation.promises import Promises, write_name
from chaos.simulation.timeline import Timeline
from chaos.simulation.violation import Violation
from replicator.model.errors import ReplicatorError
from replicator.model.ids import LogIndex
from replicator.v1 import kv_pb2, store_pb2


@dataclass(slots=True)
class Client:
    """One write at a time; a write is retried at any node until it is answered."""

    client_id: bytes
    nodes: Sequence[SimNode]
    timeline: Timeline
    dice: random.Random
    promises: Promises
    value_bytes_max: int
    stopped: bool = False
    sequence: int = 0
    attempt: int = 0
    reads: int = 0

    def next_write(self) -> None:
        """Begins a new write."""
        if not self.stopped:
            self.sequence += 1
            self._try()

    def next_read(self, every_s: float) -> None:
        """Asks some node for a linearizable point."""
        if self.stopped:
            return
        self.timeline.after(self.dice.expovariate(1 / every_s), lambda: self.next_read(every_s))
        node = self.dice.choice(self.nodes)
        if node.replica is None:
            return
        owed = self.promises.acknowledged_index_max

        def answered(result: LogIndex | ReplicatorError) -> None:
            if isinstance(result, ReplicatorError):
                return
            self.reads += 1
            if result < owed:
                raise Violation(
                    f"{self.timeline.now_s:.3f}s: linearizable read at {node.node_id} got index {result}, but {owed} "
                    "was acknowledged before it began"
                )

        replica = node.replica
        leader = replica.graft.leader
        if replica.graft.is_leader:
            replica.reads.ask(answered)
        elif leader is not None:
            replica.forwards.read_index(leader, answered)
        node.wake()

    def _try(self) -> None:
        self.attempt += 1
        attempt = self.attempt
        node = self.dice.choice(self.nodes)
        self.timeline.after(0.5 + 2.0 * self.dice.random(), lambda: self._give_up(attempt))
        if node.replica is None:
            return
        replica, command = node.replica, self._command().SerializeToString()

        def answered(result: store_pb2.Outcome | ReplicatorError) -> None:
            self._answered(attempt, result)

        leader = replica.graft.leader
        try:
            if replica.graft.is_leader:
                replica.proposals.offer(command, answered)
            elif leader is not None:
                replica.forwards.propose(leader, command, answered)
        except ReplicatorError:
            return
        node.wake()

    def _give_up(self, attempt: int) -> None:
        if attempt == self.attempt and not self.stopped:
            self._try()

    def _answered(self, attempt: int, result: store_pb2.Outcome | ReplicatorError) -> None:
        if attempt != self.attempt:
            return
        if isinstance(result, ReplicatorError):
            return  # the timer of this attempt tries again
        if result.status == store_pb2.Outcome.STATUS_REJECTED:
            raise Violation(f"{self.timeline.now_s:.3f}s: write {self.sequence} rejected: {result.reason}")
        self.promises.applied_once((self.client_id, self.sequence), result, self.timeline.now_s)
        self.attempt += 1
        self.timeline.after(self.dice.expovariate(20), self.next_write)

    def _command(self) -> store_pb2.Command:
        size = self.dice.choice((1, 10, 1000, self.value_bytes_max))
        put = store_pb2.PutOperation(key=write_name(self.client_id, self.sequence), value=b"x" * size)
        write_id = kv_pb2.WriteId(client_id=self.client_id, sequence=self.sequence, oldest_pending=self.sequence)
        return store_pb2.Command(write_id=write_id, put=put)
