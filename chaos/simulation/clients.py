"""Simulated clients: write with retries under one write id, read linearizably, and hold the cluster to its answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.simulation.character import Character
from chaos.simulation.node import SimNode
from chaos.simulation.process import Process
from chaos.simulation.promises import Judge, broken, write_name
from chaos.simulation.sessions import Session, covered_by, seconds
from chaos.simulation.timeline import Timeline
from replicator.model.errors import ReplicatorError, SessionExpired
from replicator.model.values import Consistency
from replicator.service.read import Found
from replicator.service.read_levels import ReadOptions
from replicator.service.validate import WriteId
from replicator.service.write import Written

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
        """Reads linearizably at some node."""
        if self.stopped:
            return
        pause_s = self.dice.expovariate(1 / self.character.read_pause_s) * (CALM if self.calm else 1.0)
        self.timeline.after(pause_s, self.next_read)
        node = self._choose()
        if node.replica is None:
            return
        owed_index = self.judge.staleness.index_max
        question, sought = self.judge.reads.begins(node, owed_index), self.judge.causal.seeks(owed_index, self.dice)

        def answered(found: Found | ReplicatorError) -> None:
            if isinstance(found, ReplicatorError):
                self.judge.refused(node, found)
                return
            self.reads += 1
            index = covered_by(node, found.token)
            self.judge.reads.ends(node, question, index)
            self.judge.causal.shows(node, sought, found.kv, index)
            self.judge.staleness.claims(node, seconds(found.staleness_ms), index)

        key, options = write_name(*sought), ReadOptions(Consistency.LINEARIZABLE)
        node.call(lambda process: process.services.read.get(key, options, timeout_s=self.patience_s), answered)

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
        if not self.issued_ms:
            return  # that node does not know the group's time
        written = (self.client_id, self.sequence)
        key, value = write_name(*written), self.value
        write_id = WriteId(self.client_id, self.sequence, self.sequence, self.issued_ms)

        async def ask(process: Process) -> Written:
            self.judge.proposed.asked(node, written, timeout_s)
            return await process.services.write.put(key, value, write_id, timeout_s=timeout_s)

        node.call(ask, lambda answer: self._answered(node, attempt, answer))

    def _give_up(self, attempt: int) -> None:
        if attempt == self.attempt and not self.stopped:
            self._try()

    def _answered(self, node: SimNode, attempt: int, answer: Written | ReplicatorError) -> None:
        if attempt != self.attempt:
            return
        if isinstance(answer, SessionExpired) and not self.answers:
            # Nobody had written before, so the group's time began at another calendar than the one that was asked.
            self.client_id, self.issued_ms, self.attempt = self.dice.randbytes(16), 0, self.attempt + 1
            self._try()
            return
        if isinstance(answer, ReplicatorError):
            self.judge.refused(node, answer)
            return  # the timer of this attempt tries again
        if not answer.changed:
            raise broken(node, f"says that write {self.sequence} has changed nothing")
        index = covered_by(node, answer.token)
        self.judge.answered(node, (self.client_id, self.sequence), index)
        self.session.saw(answer.token, index)
        self.answers += 1
        self.attempt += 1
        pause_s = self.dice.expovariate(1 / self.character.write_pause_s) * (CALM if self.calm else 1.0)
        self.timeline.after(min(pause_s, self.patience_s), self.next_write)
