"""Simulated clients: write with retries under one write id, read linearizably, and hold the cluster to its answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.simulation.character import Character
from chaos.simulation.node import SimNode
from chaos.simulation.process import Process
from chaos.simulation.promises import Judge, Violation, write_name
from chaos.simulation.sessions import Session
from chaos.simulation.timeline import Timeline
from replicator.machine.outcomes import APPLIED, outcome_at
from replicator.model.errors import ReplicatorError, SessionExpired
from replicator.model.ids import LogIndex
from replicator.v1 import store_pb2

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
    issued_ms: int = 0  # when its id was drawn, by log time
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

        node.call(lambda process: process.engine.read_index(timeout_s=self.patience_s), answered)

    def _choose(self) -> SimNode:
        """Any node; more often one that believes that it leads: a deposed leader must not go unasked."""
        leading = [node for node in self.nodes if node.replica is not None and node.replica.graft.is_leader]
        return self.dice.choice(leading if leading and self.dice.random() < 0.4 else self.nodes)

    def _try(self) -> None:
        self.attempt += 1
        attempt = self.attempt
        node, timeout_s = self._choose(), self.patience_s * (0.2 + 0.8 * self.dice.random())
        self.timeline.after(timeout_s, lambda: self._give_up(attempt))
        if node.replica is None:
            return
        self.issued_ms = self.issued_ms or node.replica.log_time.now_ms()
        command = self._command().SerializeToString()

        def answered(result: store_pb2.BatchOutcome | ReplicatorError) -> None:
            self._answered(node, attempt, result)

        async def ask(process: Process) -> store_pb2.BatchOutcome:
            self.judge.proposed.asked(node, command, timeout_s)
            return await process.engine.propose(command, timeout_s=timeout_s)

        node.call(ask, answered)

    def _give_up(self, attempt: int) -> None:
        if attempt == self.attempt and not self.stopped:
            self._try()

    def _answered(self, node: SimNode, attempt: int, result: store_pb2.BatchOutcome | ReplicatorError) -> None:
        if attempt != self.attempt:
            return
        if isinstance(result, ReplicatorError):
            return  # the timer of this attempt tries again
        done = outcome_at(result, 0)
        if done.reason == SessionExpired.reason and not self.answers:
            # Nobody had written before, so the group's time began at another calendar than the one that was asked.
            self.client_id, self.issued_ms, self.attempt = self.dice.randbytes(16), 0, self.attempt + 1
            self._try()
            return
        if done.status != APPLIED:
            raise Violation(f"{self.timeline.now_s:.3f}s: write {self.sequence} rejected: {done.reason}")
        self.judge.answered(node, (self.client_id, self.sequence), result)
        self.session.saw(result.index)
        self.answers += 1
        self.attempt += 1
        pause_s = self.dice.expovariate(1 / self.character.write_pause_s) * (CALM if self.calm else 1.0)
        self.timeline.after(min(pause_s, self.patience_s), self.next_write)

    def _command(self) -> store_pb2.CommandBatch:
        return store_pb2.CommandBatch(
            client_id=self.client_id,
            first_sequence=self.sequence,
            oldest_pending=self.sequence,
            issued_ms=self.issued_ms,
            keys=(write_name(self.client_id, self.sequence),),
            values=(self.value,),
        )
