"""Bugs to be found, of the use cases: what a read level waits for, what an answer claims. As planted_bugs.py has it."""

from contextlib import AbstractContextManager
from dataclasses import replace

from replicator.engine.driver import RaftEngine
from replicator.model.causal_token import CausalToken
from replicator.model.deadline import Deadline
from replicator.model.ids import LogIndex
from replicator.model.values import Consistency
from replicator.service import read, write, write_batch
from replicator.service.ports import EnginePort, PagePort
from replicator.service.read_levels import ReadLevels, ReadOptions
from replicator.service.read_points import ReadPoints
from replicator.service.scan import Page, ScanService
from replicator.service.write_batch import BatchWritten, WriteColumns
from replicator.v1 import kv_pb2, store_pb2
from tests.support.planted_bugs import replaced


def joins_a_question_that_was_asked_before() -> AbstractContextManager[None]:
    """A linearizable read takes the answer to a question that had left when the read began."""

    async def shared(self: ReadPoints, question) -> LogIndex:  # type: ignore[no-untyped-def]
        await self._gather()
        try:
            return await self._engine.read_index(timeout_s=question.deadline.left_s())
        finally:
            if self._gathering is question:
                self._gathering = None

    return replaced(ReadPoints, "_ask", shared)


def reads_before_the_point_is_applied() -> AbstractContextManager[None]:
    """A linearizable read asks for a point, and does not wait until this node holds it."""

    async def at_once(self: ReadLevels, _token: CausalToken, deadline: Deadline) -> None:
        await self._read_points.next(deadline)

    return replaced(ReadLevels, "_linearizable", at_once)


def takes_what_is_committed_for_applied() -> AbstractContextManager[None]:
    """A causal read goes on as soon as this node has heard that the token's point is committed."""
    original = ReadLevels.reach

    async def heard(self: ReadLevels, token: CausalToken, deadline: Deadline) -> None:
        if token.index > self._engine.known_commit_index:
            await original(self, token, deadline)

    return replaced(ReadLevels, "reach", heard)


def serves_bounded_reads_at_any_age() -> AbstractContextManager[None]:
    """Nobody looks how old the state is."""

    async def at_once(_self: ReadLevels, _max_staleness_ms: int, _deadline: Deadline) -> None:
        """Returns."""

    return replaced(ReadLevels, "_fresh", at_once)


def calls_every_linearizable_read_new() -> AbstractContextManager[None]:
    """Its staleness is counted from its answer, not from its beginning."""
    original = read.staleness_of

    def new(engine: EnginePort, options: ReadOptions, own_s: float) -> float | None:
        return 0.0 if options.consistency is Consistency.LINEARIZABLE else original(engine, options, own_s)

    return replaced(read, "staleness_of", new)


def scans_what_is_in_the_data_file() -> AbstractContextManager[None]:
    """What is applied in memory only is not waited for."""

    async def at_once(_self: RaftEngine, *, timeout_s: float) -> None:
        """Returns."""

    return replaced(RaftEngine, "wait_stored", at_once)


def gives_every_write_a_minute() -> AbstractContextManager[None]:
    """The caller's own deadline stays at the door."""
    return replaced(Deadline, "require_s", lambda _self: 60.0)


# What only a record of shared keys shows ----------------------------------------------------------------------------


def swaps_without_comparing() -> AbstractContextManager[None]:
    """A compare-and-set reaches the log as a put."""
    original = write_batch.propose_batch

    async def blind(engine: EnginePort, batch: WriteColumns, deadline: Deadline) -> BatchWritten:
        swaps = kv_pb2.WRITE_KIND_COMPARE_AND_SET
        kinds = [kv_pb2.WRITE_KIND_PUT if kind == swaps else kind for kind in batch.kinds]
        return await original(engine, replace(batch, kinds=kinds, expected_revisions=()), deadline)

    return replaced(write, "propose_batch", blind)


def calls_every_write_of_a_batch_a_change() -> AbstractContextManager[None]:
    """Lost comparisons, and deletes of nothing, are told as if they had happened."""
    original = write_batch._written

    def changed(engine: EnginePort, outcome: store_pb2.BatchOutcome, batch: WriteColumns) -> BatchWritten:
        return replace(original(engine, outcome, batch), unchanged=[])

    return replaced(write_batch, "_written", changed)


def mixes_up_the_answers_of_a_batch() -> AbstractContextManager[None]:
    """The revision of each write is told to another one."""
    original = write_batch._written

    def turned_round(engine: EnginePort, outcome: store_pb2.BatchOutcome, batch: WriteColumns) -> BatchWritten:
        written = original(engine, outcome, batch)
        return replace(written, revisions=written.revisions[::-1])

    return replaced(write_batch, "_written", turned_round)


def pages_end_early() -> AbstractContextManager[None]:
    """A scan leaves out the last pair of its page."""
    original = ScanService._answer

    def short(self: ScanService, page: PagePort, staleness_ms: float | None) -> Page:
        answer = original(self, page, staleness_ms)
        return replace(answer, kvs=answer.kvs[:-1])

    return replaced(ScanService, "_answer", short)
