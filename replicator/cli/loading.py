"""Writes the pairs of an export into a cluster, each on condition that nothing of another's is lost unasked.

Invariant: each pair ends in one of the four counts, or in the one error that `load` raises. A pair is written by
compare-and-set at revision 0, so it meets what is there, and the answer shows it: the same value is left as it is,
hence an import that was cut off can be run again, and ends as if it had run once.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from replicator.model.errors import ReplicatorError
from replicator.model.values import CompareAndSetResult, KeyValue, PutResult

BATCHES_IN_FLIGHT_MAX: Final = 4


class OnConflict(Enum):
    """What becomes of a key that exists with another value."""

    FAIL = "fail"
    SKIP = "skip"
    OVERWRITE = "overwrite"


class Conflict(Exception):
    """A key exists with another value. mod_revision: of what is there."""

    def __init__(self, key: bytes, mod_revision: int) -> None:
        super().__init__(key, mod_revision)
        self.key, self.mod_revision = key, mod_revision


class Writes(Protocol):
    """What is needed of a client."""

    async def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> PutResult: ...

    async def compare_and_set(
        self, key: bytes, value: bytes, *, if_revision: int, timeout_s: float | None = None
    ) -> CompareAndSetResult: ...


@dataclass(slots=True)
class Loaded:
    """Pairs by what became of them. overwritten: in place of another value. skipped: another value was kept."""

    written: int = 0
    already_there: int = 0
    overwritten: int = 0
    skipped: int = 0


class Loader:
    """Loads one export. loaded: what is known to have become of pairs, also after an error."""

    def __init__(self, client: Writes, on_conflict: OnConflict, *, timeout_s: float) -> None:
        self._client = client
        self._on_conflict = on_conflict
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(BATCHES_IN_FLIGHT_MAX)
        self._failures: list[BaseException] = []
        self._feeding: asyncio.Task[None]
        self.loaded = Loaded()

    async def load(self, batches: AsyncIterator[Sequence[KeyValue]]) -> None:
        """After the first error nothing further is read or begun; what is in flight ends, so the counts are true.

        Raises what reading raises, Conflict, ReplicatorError: of several, one that leaves a write unknown comes first.
        """
        async with asyncio.TaskGroup() as group:
            self._feeding = group.create_task(self._feed(batches, group))
        if self._failures:
            raise next(filter(_leaves_a_write_unknown, self._failures), self._failures[0])

    async def _feed(self, batches: AsyncIterator[Sequence[KeyValue]], group: asyncio.TaskGroup) -> None:
        try:
            async for batch in batches:
                await self._places.acquire()
                group.create_task(self._load_batch(batch))
        except Exception as error:  # of reading: raised once what is in flight has ended
            self._failures.append(error)

    async def _load_batch(self, batch: Sequence[KeyValue]) -> None:
        ends = await asyncio.gather(*map(self._load_pair, batch), return_exceptions=True)
        self._failures += [end for end in ends if end is not None]
        if self._failures:
            self._feeding.cancel()
        self._places.release()

    async def _load_pair(self, kv: KeyValue) -> None:
        done = await self._client.compare_and_set(kv.key, kv.value, if_revision=0, timeout_s=self._timeout_s)
        if done.succeeded:
            self.loaded.written += 1
        elif done.value == kv.value:
            self.loaded.already_there += 1
        elif self._on_conflict is OnConflict.OVERWRITE:
            await self._client.put(kv.key, kv.value, timeout_s=self._timeout_s)
            self.loaded.overwritten += 1
        elif self._on_conflict is OnConflict.SKIP:
            self.loaded.skipped += 1
        else:
            raise Conflict(kv.key, done.mod_revision)


def _leaves_a_write_unknown(error: BaseException) -> bool:
    return isinstance(error, ReplicatorError) and error.applied == "unknown"
