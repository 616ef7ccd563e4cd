"""Read points for linearizable reads, asked for together.

A point covers every write acknowledged before it was asked for, so it serves every read that arrived before that.
Asking costs the leader a round to its followers, and a follower a message each way; many reads at a time share one
question.

A read never joins a question that was asked before it arrived. Alone, it asks at once. While a question is under way,
reads gather for the next one, which is asked when that ends, or GATHER_S after it began: the wait is bounded, however
far the leader is.
"""

import asyncio
from dataclasses import dataclass
from math import inf
from typing import Final

from replicator.model.clock import Clock
from replicator.model.deadline import Deadline
from replicator.model.errors import DeadlineExceeded
from replicator.model.ids import LogIndex
from replicator.service.ports import EnginePort

GATHER_S: Final = 0.002


@dataclass(slots=True, eq=False)
class _Question:
    """One call of the engine. deadline: the latest of those who wait for it."""

    deadline: Deadline
    waiting: int = 0
    answer: "asyncio.Task[LogIndex] | None" = None


class ReadPoints:
    """Used from one event loop. Holds a question only while a caller waits for it."""

    def __init__(self, engine: EnginePort, clock: Clock) -> None:
        self._engine, self._clock = engine, clock
        self._gathering: _Question | None = None  # not asked yet: reads may still join
        self._under_way = 0
        self._asked_s = -inf
        self._none_under_way = asyncio.Event()
        self._none_under_way.set()

    async def next(self, deadline: Deadline) -> LogIndex:
        """A point asked for after this call began. Raises what the engine raises, and DeadlineExceeded."""
        deadline.require_s()
        question = self._join(deadline)
        assert question.answer is not None
        question.waiting += 1
        try:
            await asyncio.wait(
                {question.answer}, timeout=deadline.left_s()
            )  # its end by time does not end the question
            if question.answer.done():
                return question.answer.result()
        finally:
            question.waiting -= 1
            if question.waiting == 0:
                self._drop(question)
        raise DeadlineExceeded("no majority confirmed the read in time")

    def _join(self, deadline: Deadline) -> _Question:
        question = self._gathering
        if question is None:
            question = self._gathering = _Question(deadline)
            question.answer = asyncio.create_task(self._ask(question), name="read-point")
            question.answer.add_done_callback(_note_error)
        elif deadline.at_monotonic_s > question.deadline.at_monotonic_s:
            question.deadline = deadline
        return question

    def _drop(self, question: _Question) -> None:
        """Nobody waits for it any more."""
        if self._gathering is question:
            self._gathering = None
        assert question.answer is not None
        question.answer.cancel()  # has no effect once it is done

    async def _ask(self, question: _Question) -> LogIndex:
        await self._gather()
        assert self._gathering is question
        self._gathering = None  # from here on, newcomers are too late for it
        self._under_way += 1
        self._none_under_way.clear()
        self._asked_s = self._clock.monotonic_s()
        try:
            return await self._engine.read_index(timeout_s=question.deadline.left_s())
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._none_under_way.set()

    async def _gather(self) -> None:
        left_s = self._asked_s + GATHER_S - self._clock.monotonic_s()
        if self._under_way and left_s > 0.0:
            try:
                async with asyncio.timeout(left_s):
                    await self._none_under_way.wait()
            except TimeoutError:
                pass  # far away, or slow: ask again beside it


def _note_error(answer: "asyncio.Task[LogIndex]") -> None:
    """The callers that waited have it already; if the last one was cancelled at the same moment, no one needs it."""
    if not answer.cancelled():
        answer.exception()
