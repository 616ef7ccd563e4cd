"""Callers of simulated nodes, and the record of what they saw: the same kinds as in process_load.py.

Nodes repeat calls as engine/calling/calls.py does, which itself needs an event loop: at the next leader if one says
that it leads no more, and never otherwise.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

from chaos.history import History, Kind, Operation, Result
from chaos.simulation.node import CLUSTER, TOKEN_SCOPE, SimNode
from chaos.simulation.timeline import Timeline
from replicator.config.timing import RaftTiming
from replicator.core.causal_token import CausalToken
from replicator.engine.calling import asking
from replicator.engine.calling.asking import Asked, Leading, whom_to_ask
from replicator.engine.leading.request_table import READ_INDEX, WRITE
from replicator.engine.replica import Replica
from replicator.model.errors import NoLeader, NotLeader, ReplicatorError
from replicator.model.ids import LogIndex, NodeId
from replicator.storage.storage import Storage
from replicator.v1 import kv_pb2, store_pb2
from tests.support.agreement import record
from tests.support.agreement.record import ENDED
from tests.support.agreement.stage import Answers

WRITERS: Final = 4
SHARED_KEYS: Final = 4
PAUSE_S: Final = 0.02
WRITE_S: Final = 5.0  # then its outcome is unknown
ATTEMPT_S: Final = 1.6
READ_S: Final = 3.0
LOOK_EVERY_S: Final = 0.01

Write = store_pb2.Outcome | ReplicatorError
Read = LogIndex | ReplicatorError


@dataclass(slots=True)
class Routing:
    """One question of one caller at one node, until it has an answer or its process is gone."""

    node: SimNode
    timeline: Timeline
    wait_s: float
    question: Callable[[Replica, Leading], Asked]
    failed: Callable[[ReplicatorError], None]
    refused: Leading | None = None
    until_s: float = 0.0
    _asked: Leading | None = None

    def begin(self) -> None:
        """A process that is stopped hears of it when it wakes."""
        self.until_s = self.timeline.now_s + self.wait_s
        self.node._later(1e-4, self._attempt)

    def not_leader(self) -> None:
        """The node that was asked no longer leads."""
        self.refused = self._asked
        self.until_s = self.timeline.now_s + self.wait_s
        self.node._later(1e-4, self._attempt)

    def _attempt(self, replica: Replica, _storage: Storage) -> None:
        leading = whom_to_ask(replica)
        if leading is None or leading == self.refused:
            if self.timeline.now_s >= self.until_s:
                self.failed(NoLeader("no leader can be reached from this node"))
            else:
                self.node._later(LOOK_EVERY_S, self._attempt)
            return
        self._asked = leading
        try:
            self.question(replica, leading)
        except ReplicatorError as error:
            self.failed(error)
            return
        self.node.wake()


@dataclass(slots=True)
class SimulatedLoad:
    """All callers. acknowledged: writes, so far."""

    nodes: Sequence[SimNode]
    timeline: Timeline
    dice: random.Random
    history: History
    timing: RaftTiming
    acknowledged: int = 0
    _newest: Operation | None = None
    _stopping: bool = False
    _busy: int = 0
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
            self._next_write(f"writer-{number}", self.dice.randbytes(16), 1)
        for name in names:
            for linearizable in (True, False):
                self._next_read(name, linearizable=linearizable)

    def stop(self) -> None:
        """Callers end after the call in hand."""
        self._stopping = True

    # Writes --------------------------------------------------------------------------------------------------------

    def put(
        self, node: SimNode, asked: Operation, client: bytes, sequence: int, ended: Callable[[Operation], None]
    ) -> None:
        """One attempt at one node. `ended` hears of it unless the process dies."""
        put = store_pb2.PutOperation(key=asked.key.encode(), value=(asked.value or "").encode())
        write_id = kv_pb2.WriteId(client_id=client, sequence=sequence, oldest_pending=sequence)
        command = store_pb2.Command(write_id=write_id, put=put).SerializeToString()

        def answered(result: Write) -> None:
            if isinstance(result, NotLeader):
                routing.not_leader()
            elif isinstance(result, ReplicatorError):
                ended(record.failed(asked, result))
            elif result.status != store_pb2.Outcome.STATUS_APPLIED:  # an attempt that came after the answer to another
                ended(replace(asked, error=result.reason))
            else:
                token = CausalToken(LogIndex(result.index)).encode(TOKEN_SCOPE)
                ended(replace(asked, result=Result.OK, revision=result.revision, token=token))

        routing = Routing(
            node, self.timeline, self.timing.election_timeout_max_s,
            question=lambda replica, leading: asking.ask(replica, leading, WRITE, command, answered),
            failed=answered,
        )  # fmt: skip
        routing.begin()

    def _next_write(self, worker: str, client: bytes, sequence: int) -> None:
        if self._stopping:
            return
        self._busy += 1
        key = f"shared-{self.dice.randrange(SHARED_KEYS)}" if sequence % 2 == 0 else f"{worker}/{sequence:05d}"
        asked = self.begun(Kind.PUT, worker, "", key, value=f"{worker}/{sequence}")
        over = False

        def finish(operation: Operation) -> None:
            nonlocal over
            if not over:
                over = True
                self._busy -= 1
                self.done(operation)
                self.timeline.after(self._pause_s(), lambda: self._next_write(worker, client, sequence + 1))

        def attempt() -> None:
            if over:
                return
            if self.timeline.now_s - asked.start_s > WRITE_S:
                finish(replace(asked, result=Result.UNKNOWN, error="OUTCOME_UNKNOWN"))
                return
            self.put(self.dice.choice(self.nodes), asked, client, sequence, ended)
            self.timeline.after(ATTEMPT_S * self.dice.random(), attempt)

        def ended(operation: Operation) -> None:
            if operation.result is Result.OK:
                finish(operation)  # else the timer tries again, under the same write id

        attempt()

    # Reads ---------------------------------------------------------------------------------------------------------

    def get(self, node: SimNode, asked: Operation, ended: Callable[[Operation], None]) -> None:
        """One attempt at one node. `ended` hears of it unless the process dies."""

        def wait(index: LogIndex) -> None:
            def look(replica: Replica, storage: Storage) -> None:
                if replica.applied_index < index:
                    node._later(LOOK_EVERY_S, look)
                    return
                found, revision, applied_index = storage.get(asked.key.encode())
                ended(record.read(asked, found, revision, CausalToken(applied_index).encode(TOKEN_SCOPE), node.node_id))

            node._later(1e-4, look)

        def answered(result: Read) -> None:
            if isinstance(result, NotLeader):
                routing.not_leader()
            elif isinstance(result, ReplicatorError):
                ended(record.failed(asked, result))
            else:
                wait(result)

        routing = Routing(
            node, self.timeline, self.timing.election_timeout_max_s,
            question=lambda replica, leading: asking.ask(replica, leading, READ_INDEX, None, answered),
            failed=answered,
        )  # fmt: skip
        if asked.linearizable:
            routing.begin()
        else:
            wait(CausalToken.decode(asked.carried, TOKEN_SCOPE).index if asked.carried else LogIndex(0))

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
        load.put(node, write, load.dice.randbytes(16), 1, ended)
        load.get(node, load.question(name, node.node_id, linearizable=True), ended)

    async def ends(self) -> Answers:
        self._until(lambda: len(self._ended) == 2, "two answers")
        return Answers(ENDED[self._ended[Kind.PUT].result], ENDED[self._ended[Kind.READ].result])
