"""Callers of simulated nodes, and the record of what they saw: the same kinds as in process_load.py."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

from chaos.history import History, Kind, Operation, Result
from chaos.simulation.node import CLUSTER, SimNode
from chaos.simulation.timeline import Timeline
from replicator.model.errors import ReplicatorError, SessionExpired
from replicator.model.ids import NodeId
from replicator.model.values import Consistency
from replicator.service.read import Found
from replicator.service.read_levels import ReadOptions
from replicator.service.validate import WriteId
from replicator.service.write import Written
from tests.support.agreement import record
from tests.support.agreement.record import ENDED
from tests.support.agreement.stage import Answers

WRITERS: Final = 4
SHARED_KEYS: Final = 4
PAUSE_S: Final = 0.02
WRITE_S: Final = 5.0  # then its outcome is unknown
ATTEMPT_S: Final = 1.6
READ_S: Final = 3.0
PATIENCE_S: Final = 30.0  # of a caller that is asked to wait for whatever comes


@dataclass(slots=True)
class SimulatedLoad:
    """All callers. acknowledged: writes, so far."""

    nodes: Sequence[SimNode]
    timeline: Timeline
    dice: random.Random
    history: History
    acknowledged: int = 0
    _newest: Operation | None = None
    _stopping: bool = False
    _busy: int = 0
    _drawn: dict[bytes, int] = field(default_factory=dict)  # client -> when its id was, by log time
    _taken: set[bytes] = field(default_factory=set)  # clients that the group knows
    _asked: "count[int]" = field(default_factory=lambda: count(1))

    @staticmethod
    def wrote(key: str) -> bool:
        """Whether a key is one of these callers'."""
        return key.startswith(("shared-", "writer-", "asked-"))

    @property
    def has_ended(self) -> bool:
        """No call is under way, and none will be."""
        return self._stopping and not self._busy

    def begin(self, names: Sequence[NodeId]) -> None:
        """Writers that use all nodes, and readers that ask one each."""
        for number in range(WRITERS):
            self._next_write(f"writer-{number}", 1, self.dice.randbytes(16), 1)
        for name in names:
            for linearizable in (True, False):
                self._next_read(name, linearizable=linearizable)

    def stop(self) -> None:
        """Callers end after the call in hand."""
        self._stopping = True

    # Writes --------------------------------------------------------------------------------------------------------

    def put(
        self,
        node: SimNode,
        asked: Operation,
        client: bytes,
        sequence: int,
        ended: Callable[[Operation], None],
        patience_s: float = WRITE_S,
    ) -> None:
        """One attempt at one node. `ended` hears of it unless the process dies."""
        key, value = asked.key.encode(), (asked.value or "").encode()
        write_id = WriteId(client, sequence, sequence, self._issued_ms(client, node))

        def answered(result: Written | ReplicatorError) -> None:
            if isinstance(result, ReplicatorError):  # of an attempt that came after the answer to another, too
                ended(record.failed(asked, result))
            else:
                ended(replace(asked, result=Result.OK, revision=result.revision, token=result.token))

        node.call(lambda process: process.services.write.put(key, value, write_id, timeout_s=patience_s), answered)

    def _issued_ms(self, client: bytes, node: SimNode) -> int:
        """By log time as the node knows it that the client asks first, and the same ever after."""
        if not self._drawn.get(client):
            self._drawn[client] = 0 if node.replica is None else node.replica.log_time.now_ms()
        return self._drawn[client]

    def _next_write(self, worker: str, number: int, client: bytes, sequence: int) -> None:
        """number: of this worker's writes. sequence: of those under this client id."""
        if self._stopping:
            return
        self._busy += 1
        key = f"shared-{self.dice.randrange(SHARED_KEYS)}" if number % 2 == 0 else f"{worker}/{number:05d}"
        asked = self.begun(Kind.PUT, worker, "", key, value=f"{worker}/{number}")
        over = False

        def finish(operation: Operation) -> None:
            nonlocal over
            if not over:
                over = True
                self._busy -= 1
                self.done(operation)
                self.timeline.after(self._pause_s(), lambda: self._next_write(worker, number + 1, client, sequence + 1))

        def attempt() -> None:
            if over:
                return
            if self.timeline.now_s - asked.start_s > WRITE_S:
                finish(replace(asked, result=Result.UNKNOWN, error="OUTCOME_UNKNOWN"))
                return
            under = client
            self.put(self.dice.choice(self.nodes), asked, under, sequence, lambda operation: ended(under, operation))
            self.timeline.after(ATTEMPT_S * self.dice.random(), attempt)

        def ended(under: bytes, operation: Operation) -> None:
            nonlocal client, sequence
            if operation.result is Result.OK:
                self._taken.add(under)
                finish(operation)
            elif operation.error == SessionExpired.reason and under == client and under not in self._taken:
                # Nobody had written before, so the group's time began at another calendar than that of the node asked.
                client, sequence = self.dice.randbytes(16), 1
            # The timer tries again; under the same write id, if the id of the client was not refused.

        attempt()

    # Reads ---------------------------------------------------------------------------------------------------------

    def get(
        self, node: SimNode, asked: Operation, ended: Callable[[Operation], None], patience_s: float = READ_S
    ) -> None:
        """One attempt at one node. `ended` hears of it unless the process dies."""

        def answered(found: Found | ReplicatorError) -> None:
            if isinstance(found, ReplicatorError):
                ended(record.failed(asked, found))
            else:
                ended(record.read(asked, found.kv, found.revision, found.token, node.node_id))

        key, level = asked.key.encode(), Consistency.LINEARIZABLE if asked.linearizable else Consistency.CAUSAL
        options = ReadOptions(level, asked.carried)
        node.call(lambda process: process.services.read.get(key, options, timeout_s=patience_s), answered)

    def question(self, worker: str, node: NodeId, *, linearizable: bool) -> Operation:
        """A read of the key that was last heard of."""
        heard = self._newest
        key, token = (heard.key, heard.token) if heard is not None else ("shared-0", "")
        asked = self.begun(Kind.READ, worker, node, key)
        return replace(asked, linearizable=linearizable, carried="" if linearizable else token)

    def _next_read(self, name: NodeId, *, linearizable: bool) -> None:
        if self._stopping:
            return
        self._busy += 1
        worker = f"{'linearizable' if linearizable else 'causal'}-at-{name}"
        asked, over = self.question(worker, name, linearizable=linearizable), False

        def ended(operation: Operation) -> None:
            nonlocal over
            if not over:
                over = True
                self._busy -= 1
                self.done(operation)
                self.timeline.after(self._pause_s(), lambda: self._next_read(name, linearizable=linearizable))

        self.timeline.after(READ_S, lambda: ended(replace(asked, error="DEADLINE_EXCEEDED")))
        node = next((node for node in self.nodes if node.node_id == name), None)
        if node is None or node.replica is None:
            self.timeline.after(PAUSE_S, lambda: ended(replace(asked, error="UNAVAILABLE")))
        else:
            self.get(node, asked, ended)

    # The record ----------------------------------------------------------------------------------------------------

    def begun(self, kind: Kind, worker: str, node: str, key: str, value: str | None = None) -> Operation:
        """A call that sets out now."""
        return record.begun(kind, worker, str(CLUSTER), node, key, self.timeline.now_s, value)

    def done(self, operation: Operation) -> None:
        """A call that has ended now."""
        ended = replace(operation, end_s=self.timeline.now_s)
        self.history.append(ended)
        if ended.result is Result.OK:
            self.acknowledged += ended.is_write
        self._newest = record.newer(self._newest, ended)

    def new_name(self) -> str:
        """Of a single caller."""
        return f"asked-{next(self._asked)}"

    def _pause_s(self) -> float:
        return 2 * self.dice.random() * PAUSE_S


class SingleCalls:
    """Implements stage.Asked."""

    def __init__(self, load: SimulatedLoad, node: SimNode, until: Callable[[Callable[[], bool], str], None]) -> None:
        self._until = until
        self._ended: dict[Kind, Operation] = {}
        name = load.new_name()

        def ended(operation: Operation) -> None:
            load.done(operation)
            self._ended[operation.kind] = operation

        write = load.begun(Kind.PUT, name, node.node_id, f"{name}/key", value=name)
        load.put(node, write, load.dice.randbytes(16), 1, ended, PATIENCE_S)
        load.get(node, load.question(name, node.node_id, linearizable=True), ended, PATIENCE_S)

    async def ends(self) -> Answers:
        self._until(lambda: len(self._ended) == 2, "two answers")
        return Answers(ENDED[self._ended[Kind.PUT].result], ENDED[self._ended[Kind.READ].result])
