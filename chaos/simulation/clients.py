"""Simulated clients: write with retries under one write id, read linearizably, and hold the cluster to its answers."""

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.simulation.character import Character
from chaos.simulation.node import SimNode
from chaos.simulation.promises import Judge, Violation, write_name
from chaos.simulation.sessions import Session
from chaos.simulation.timeline import Timeline
from replicator.engine.calling import asking
from replicator.engine.calling.asking import whom_to_ask
from replicator.engine.leading.request_table import READ_INDEX, WRITE
from replicator.model.errors import ReplicatorError
from replicator.model.ids import LogIndex
from replicator.v1 import kv_pb2, store_pb2

CALM = 5.0  # after the heal, a client asks so much less often


@dataclass(slots=True)
class Client:
    """One write at a time; a write is retried at any node until it is answered. patience_s: until it asks again."""

    client_id: bytes
    nodes: Sequence[SimNode]
    timeline: Timeline
    dice: random.Random
    judge: Judge
    character: Character
    patience_s: float
    session: Session
    calm: bool = False
    stopped: bool = False
    sequence: int = 0
    value: bytes = b""
    attempt: int = 0
    reads: int = 0
    answers: int = 0

    def next_write(self) -> None:
        """Begins a new write."""
        if not self.stopped:
            self.sequence += 1
            self.value = b"x" * self.dice.choice(self.character.value_bytes)  # a retry is of the same operation
            self._try()

    def next_read(self) -> None:
        """Asks some node for a linearizable point."""
        if self.stopped:
            return
        pause_s = self.dice.expovariate(1 / self.character.read_pause_s) * (CALM if self.calm else 1.0)
        self.timeline.after(pause_s, self.next_read)
        node = self._choose()
        if node.replica is None:
            return
        question = self.judge.reads.begins(node, self.judge.staleness.index_max)

        def answered(result: LogIndex | ReplicatorError) -> None:
            if not isinstance(result, ReplicatorError):
                self.reads += 1
                self.judge.reads.ends(node, question, result)

        leading = whom_to_ask(node.replica)
        if leading is None:
            return
        with contextlib.suppress(ReplicatorError):
            asking.ask(node.replica, leading, READ_INDEX, None, answered)
        node.wake()

    def _choose(self) -> SimNode:
        """Any node; more often one that believes that it leads: a deposed leader must not go unasked."""
        leading = [node for node in self.nodes if node.replica is not None and node.replica.graft.is_leader]
        return self.dice.choice(leading if leading and self.dice.random() < 0.4 else self.nodes)

    def _try(self) -> None:
        self.attempt += 1
        attempt = self.attempt
        node = self._choose()
        self.timeline.after(self.patience_s * (0.2 + 0.8 * self.dice.random()), lambda: self._give_up(attempt))
        if node.replica is None:
            return
        leading, command = whom_to_ask(node.replica), self._command().SerializeToString()
        if leading is None:
            return

        def answered(result: store_pb2.Outcome | ReplicatorError) -> None:
            self._answered(node, attempt, result)

        with contextlib.suppress(ReplicatorError):
            asking.ask(node.replica, leading, WRITE, command, answered)
        node.wake()

    def _give_up(self, attempt: int) -> None:
        if attempt == self.attempt and not self.stopped:
            self._try()

    def _answered(self, node: SimNode, attempt: int, result: store_pb2.Outcome | ReplicatorError) -> None:
        if attempt != self.attempt:
            return
        if isinstance(result, ReplicatorError):
            return  # the timer of this attempt tries again
        if result.status != store_pb2.Outcome.STATUS_APPLIED:
            raise Violation(f"{self.timeline.now_s:.3f}s: write {self.sequence} rejected: {result.reason}")
        self.judge.answered(node, (self.client_id, self.sequence), result)
        self.session.saw(result.index)
        self.answers += 1
        self.attempt += 1
        pause_s = self.dice.expovariate(1 / self.character.write_pause_s) * (CALM if self.calm else 1.0)
        self.timeline.after(min(pause_s, self.patience_s), self.next_write)

    def _command(self) -> store_pb2.Command:
        put = store_pb2.PutOperation(key=write_name(self.client_id, self.sequence), value=self.value)
        write_id = kv_pb2.WriteId(client_id=self.client_id, sequence=self.sequence, oldest_pending=self.sequence)
        return store_pb2.Command(write_id=write_id, put=put)
