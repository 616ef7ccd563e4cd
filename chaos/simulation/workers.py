"""Simulated workers: they overwrite, delete, compare and set, get and scan a few shared keys, and put it on record.

Real callers are judged by such a record; this one is judged by the same checkers (chaos/checkers), which know nothing
else. One thing at a time; a write is repeated at any node under its write ids until it is answered, or given up.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from chaos.history import History, Kind, Operation, Result
from chaos.simulation.character import Character
from chaos.simulation.node import CLUSTER, SimNode
from chaos.simulation.process import AnswerT, Process
from chaos.simulation.promises import Judge
from chaos.simulation.sessions import covered_by
from chaos.simulation.timeline import Timeline
from replicator.model.causal_token import later
from replicator.model.errors import ReplicatorError, SessionExpired
from replicator.model.values import Consistency, KeyValue
from replicator.service.read import Found
from replicator.service.read_levels import ReadOptions
from replicator.service.scan import Page, ScanRange
from replicator.service.write_batch import BatchWritten, WriteColumns
from replicator.v1 import kv_pb2

PREFIX: Final = "shared/"
AFTER_PREFIX: Final = b"shared0"
KEPT: Final = "shared/kept-0", "shared/kept-1"  # never deleted: their absence would prove something
KEYS: Final = (*KEPT, "shared/passing-0", "shared/passing-1")
BATCH_MAX: Final = 3
PATIENCE: Final = 6.0  # attempts may last that many times the patience of one; then the outcome is unknown
SHARES: Final = {"write": 0.5, "get": 0.4, "scan": 0.1}
HEARSAY: Final = 0.3  # chance that one has heard of another one before it reads
CALM: Final = 5.0  # after the heal, one asks so much less often
_KIND_OF: Final = {
    Kind.PUT: kv_pb2.WRITE_KIND_PUT,
    Kind.DELETE: kv_pb2.WRITE_KIND_DELETE,
    Kind.COMPARE_AND_SET: kv_pb2.WRITE_KIND_COMPARE_AND_SET,
}


@dataclass(slots=True)
class _Batch:
    """Writes of one request, under ids without a gap. began_s: its first attempt."""

    writes: list[Operation]
    began_s: float
    first_sequence: int
    attempt: int = 0


@dataclass(slots=True)
class Worker:
    """history: shared with the others, who are `others` (itself included). patience_s: of one attempt."""

    name: str
    history: History
    others: "Sequence[Worker]"
    nodes: Sequence[SimNode]
    timeline: Timeline
    dice: random.Random
    judge: Judge
    character: Character
    patience_s: float
    token: str = ""
    calm: bool = False
    stopped: bool = False
    _client_id: bytes = b""
    _issued_ms: int = 0
    _is_known: bool = False  # to the group, under that id
    _sequence: int = 0
    _values: int = 0
    _seen: dict[str, int] = field(default_factory=dict)  # key -> its revision when this worker last saw it
    _batch: _Batch | None = None

    def next(self) -> None:
        """Begins the next call, after a pause."""
        pause_s = self.dice.expovariate(1 / self.character.read_pause_s) * (CALM if self.calm else 1.0)
        self.timeline.after(pause_s, self._begin)

    def end(self) -> None:
        """The life is over: what is under way has no known outcome."""
        self.stopped = True
        if self._batch is not None:
            self._give_up(self._batch)

    def _begin(self) -> None:
        if self.stopped:
            return
        if self.dice.random() < HEARSAY:
            self._heard(self.dice.choice(self.others).token)
        match self.dice.choices(tuple(SHARES), tuple(SHARES.values()))[0]:
            case "write":
                self._write()
            case "get":
                self._get()
            case _:
                self._scan()

    # Writes --------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        writes = [self._drawn_write() for _ in range(self.dice.choice((1, 1, BATCH_MAX)))]
        self._batch = _Batch(writes, self.timeline.now_s, self._sequence + 1)
        self._sequence += len(writes)
        self._try(self._batch)

    def _drawn_write(self) -> Operation:
        key = self.dice.choice(KEYS)
        kinds = [Kind.PUT, Kind.COMPARE_AND_SET] + ([] if key in KEPT else [Kind.DELETE])
        kind = self.dice.choice(kinds)
        self._values += 1
        value = None if kind is Kind.DELETE else f"{self.name}/{self._values}"
        expected = self._seen.get(key, 0) if kind is Kind.COMPARE_AND_SET else None
        return replace(self._asked(kind, key), value=value, expected_revision=expected)

    def _try(self, batch: _Batch) -> None:
        if batch is not self._batch or self.stopped:
            return
        if self.timeline.now_s - batch.began_s > PATIENCE * self.patience_s:
            self._give_up(batch)
            self.next()
            return
        batch.attempt += 1
        attempt, node = batch.attempt, self.dice.choice(self.nodes)
        timeout_s = self.patience_s * (0.2 + 0.8 * self.dice.random())
        self.timeline.after(timeout_s, lambda: self._try(batch) if attempt == batch.attempt else None)
        if node.replica is None or not self._has_id(node.replica.log_time.now_ms()):
            return
        columns, client_id = self._columns(batch), self._client_id

        async def ask(process: Process) -> BatchWritten:
            for place in range(len(batch.writes)):
                self.judge.proposed.asked(node, (client_id, columns.first_sequence + place), timeout_s)
            return await process.services.write.write_batch(columns, timeout_s=timeout_s)

        def answered(answer: BatchWritten | ReplicatorError) -> None:
            if batch is self._batch and attempt == batch.attempt:
                self._written(node, batch, answer)

        node.call(ask, answered)

    def _has_id(self, log_time_ms: int) -> bool:
        """Drawn by the group's time, as the first node that is asked knows it."""
        if not self._client_id and log_time_ms:
            self._client_id, self._issued_ms = self.dice.randbytes(16), log_time_ms
        return bool(self._client_id)

    def _columns(self, batch: _Batch) -> WriteColumns:
        writes = batch.writes
        return WriteColumns(
            client_id=self._client_id,
            first_sequence=batch.first_sequence,
            oldest_pending=batch.first_sequence,
            issued_ms=self._issued_ms,
            kinds=[_KIND_OF[write.kind] for write in writes],
            keys=[write.key.encode() for write in writes],
            values=[write.value.encode() for write in writes if write.value is not None],
            expected_revisions=[write.expected_revision for write in writes if write.expected_revision is not None],
        )

    def _written(self, node: SimNode, batch: _Batch, answer: BatchWritten | ReplicatorError) -> None:
        if isinstance(answer, SessionExpired) and not self._is_known:
            # Nobody had written before, so the group's time began at another calendar than the one that was asked.
            self._client_id, batch.attempt = b"", batch.attempt + 1
            self._try(batch)
            return
        if isinstance(answer, ReplicatorError):
            self.judge.refused(node, answer)
            return  # the timer of this attempt tries again
        for _, error in answer.errors:
            self.judge.refused(node, error)
        self._is_known, self._batch = True, None
        self.judge.staleness.acknowledged(covered_by(node, answer.token), self.timeline.now_s)
        for place, (write, revision) in enumerate(zip(batch.writes, answer.revisions, strict=True)):
            result = Result.FAILED if place in answer.unchanged else Result.OK
            if result is Result.OK:
                self._seen[write.key] = 0 if write.kind is Kind.DELETE else revision
            self._ended(replace(write, result=result, revision=revision, token=answer.token, node=node.node_id))
        for place, found in answer.found:
            self._seen[batch.writes[place].key] = found.mod_revision
        self._heard(answer.token)
        self.next()

    def _give_up(self, batch: _Batch) -> None:
        self._batch = None
        for write in batch.writes:
            self._ended(replace(write, result=Result.UNKNOWN, error="OUTCOME_UNKNOWN"))

    # Reads ---------------------------------------------------------------------------------------------------------

    def _get(self) -> None:
        asked, options = self._question(self.dice.choice(KEYS))
        key = asked.key.encode()

        def shown(found: Found, node: SimNode) -> None:
            self._read(replace(asked, token=found.token, revision=found.revision, node=node.node_id), found.kv)

        self._ask(lambda process: process.services.read.get(key, options, timeout_s=self.patience_s), shown)

    def _scan(self) -> None:
        asked, options = self._question("")
        wanted = ScanRange(PREFIX.encode(), AFTER_PREFIX)

        def shown(page: Page, node: SimNode) -> None:
            pairs = {kv.key.decode(): kv for kv in page.kvs}
            assert pairs.keys() <= set(KEYS), pairs
            assert not page.next_page_token, page
            for key in KEYS:
                answer = replace(asked, key=key, token=page.token, revision=page.revision, node=node.node_id)
                self._read(answer, pairs.get(key))

        self._ask(lambda process: process.services.scan.scan(wanted, options, timeout_s=self.patience_s), shown)

    def _question(self, key: str) -> tuple[Operation, ReadOptions]:
        linearizable = self.dice.random() < 0.4
        asked = replace(self._asked(Kind.READ, key), linearizable=linearizable, carried=self.token)
        return asked, ReadOptions(Consistency.LINEARIZABLE if linearizable else Consistency.CAUSAL, self.token)

    def _ask(self, ask: Callable[[Process], Awaitable[AnswerT]], shown: Callable[[AnswerT, SimNode], None]) -> None:
        node, over = self.dice.choice(self.nodes), False

        def end() -> None:
            nonlocal over
            if not over:
                over = True
                self.next()

        def answered(answer: AnswerT | ReplicatorError) -> None:
            if over or self.stopped:
                return
            if isinstance(answer, ReplicatorError):
                self.judge.refused(node, answer)
            else:
                shown(answer, node)
            end()

        self.timeline.after(1.1 * self.patience_s, end)  # the process may die
        node.call(ask, answered)

    def _read(self, answer: Operation, found: KeyValue | None) -> None:
        ended = replace(answer, result=Result.OK)
        if found is not None:
            value, mod_revision, version = found.value.decode(), found.mod_revision, found.version
            ended = replace(ended, value=value, mod_revision=mod_revision, version=version)
        self._seen[answer.key] = ended.mod_revision
        self._ended(ended)
        self._heard(answer.token)

    # The record ----------------------------------------------------------------------------------------------------

    def _asked(self, kind: Kind, key: str) -> Operation:
        now_s = self.timeline.now_s
        return Operation(
            kind=kind, worker=self.name, region=str(CLUSTER), key=key, result=Result.FAILED, start_s=now_s, end_s=now_s
        )

    def _ended(self, operation: Operation) -> None:
        self.history.append(replace(operation, end_s=self.timeline.now_s))

    def _heard(self, token: str) -> None:
        """The later of two tokens is the text of one of them, which the record knows."""
        self.token = later(self.token, token) if self.token and token else self.token or token
