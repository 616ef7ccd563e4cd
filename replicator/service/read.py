"""Get, of one key or of a batch: makes the replica fresh enough, then reads it locally in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from replicator.model.causal_token import CausalToken, token_scope
from replicator.model.clock import Clock
from replicator.model.deadline import Deadline
from replicator.model.values import Consistency, KeyValue, PairColumns
from replicator.service.ports import EnginePort, StoreReads
from replicator.service.read_levels import ReadLevels, ReadOptions
from replicator.service.validate import check_key, check_keys, check_operations


@dataclass(frozen=True, slots=True)
class Found:
    """kv: None if the key does not exist. token: covers exactly what the read saw.

    staleness_ms: upper bound of the state's age at the moment of the read; None if the node cannot tell.
    """

    kv: KeyValue | None
    revision: int
    token: str
    staleness_ms: float | None


@dataclass(frozen=True, slots=True)
class FoundBatch:
    """As Found, of several keys at one moment. columns: may hold fewer than were asked for, at least one."""

    columns: PairColumns
    revision: int
    token: str
    staleness_ms: float | None


class ReadService:
    """Reads of keys."""

    def __init__(self, engine: EnginePort, store: StoreReads, clock: Clock) -> None:
        self._engine, self._store, self._clock = engine, store, clock
        self._freshness = ReadLevels(engine, clock)

    async def get(self, key: bytes, options: ReadOptions, *, timeout_s: float) -> Found:
        """Raises what ReadLevels.ready raises, and InvalidArgument."""
        check_key(key)
        started_s = self._clock.monotonic_s()
        await self._freshness.ready(options, Deadline.after(timeout_s, self._clock.monotonic_s))
        # The bound is taken before the transaction opens: what is read is then at least that new.
        staleness_ms = staleness_of(self._engine, options, self._clock.monotonic_s() - started_s)
        kv, revision, index = self._store.get(key)
        return Found(kv, revision, CausalToken(index, revision).encode(token_scope(self._engine.founder)), staleness_ms)

    async def get_batch(
        self, keys: Sequence[bytes], options: ReadOptions, *, timeout_s: float, bytes_max: int
    ) -> FoundBatch:
        """All of one moment, which is made new enough once for all of them. Raises as `get`.

        bytes_max: of the values; beyond it the answer holds the first keys only, at least one.
        """
        check_operations(len(keys))
        check_keys(keys)
        started_s = self._clock.monotonic_s()
        await self._freshness.ready(options, Deadline.after(timeout_s, self._clock.monotonic_s))
        staleness_ms = staleness_of(self._engine, options, self._clock.monotonic_s() - started_s)
        columns, revision, index = self._store.get_many(keys, bytes_max=bytes_max)
        token = CausalToken(index, revision).encode(token_scope(self._engine.founder))
        return FoundBatch(columns, revision, token, staleness_ms)


def staleness_of(engine: EnginePort, options: ReadOptions, own_s: float) -> float | None:
    """What can be promised of a read that looks at the state now. own_s: since its call began.

    A linearizable one has proven itself no older than its own start, whatever the replica knows of its age otherwise.
    """
    staleness_ms = engine.staleness_ms()
    if options.consistency is not Consistency.LINEARIZABLE:
        return staleness_ms
    own_ms = own_s * 1000.0
    return own_ms if staleness_ms is None else min(own_ms, staleness_ms)
