"""One worker's hold on the cluster: calls the public client, and puts on record what became of every call."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from chaos.history import Export, History, Kind, Operation, Pair, Result
from replicator.client import Client
from replicator.model.errors import ReplicatorError
from replicator.model.values import CompareAndSetResult, Consistency, GetResult, PutResult

WRITE_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 3.0
EXPORT_PAGE_KEYS: Final = 10  # so few that writes go on between the pages

Answer = TypeVar("Answer")


@dataclass(slots=True)
class Traffic:
    """What all workers share. writes_in_flight: sent, not answered yet. complaints: of readers, about broken words.

    acknowledged, unknown, reads: running totals, for progress output. served: workers that have had a call succeed.
    answered_by: worker -> the node that answered its last read.
    """

    history: History
    writes_in_flight: int = 0
    acknowledged: int = 0
    unknown: int = 0
    reads: int = 0
    served: set[str] = field(default_factory=set)
    answered_by: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def record(self, operation: Operation) -> None:
        """Takes what has just ended."""
        self.history.append(operation)
        self.acknowledged += operation.is_write and operation.result is Result.OK
        self.unknown += operation.result is Result.UNKNOWN
        self.reads += operation.kind is Kind.READ and operation.result is Result.OK
        if operation.result is Result.OK:
            self.served.add(operation.worker)
        if operation.node:
            self.answered_by[operation.worker] = operation.node


@dataclass(frozen=True, slots=True)
class Swapped:
    """A compare-and-set on record. found: what stood there instead, if it lost."""

    operation: Operation
    found: CompareAndSetResult | None = None


class Caller:
    """Does one thing at a time, and carries its newest token, as the session of one user would."""

    def __init__(self, client: Client, worker: str, region: str, traffic: Traffic) -> None:
        self.worker = worker
        self.region = region
        self.traffic = traffic
        self.token = ""
        self.token_revision = 0
        self._client = client

    def learn(self, token: str, revision: int) -> None:
        """A token from anywhere. Tokens are opaque, so the revision that came with each says which covers the other."""
        if token and revision >= self.token_revision:
            self.token, self.token_revision = token, revision

    async def put(self, key: str, value: str) -> Operation:
        """Sets a key."""
        asked = self._asked(Kind.PUT, key, value=value)

        def answered(answer: PutResult) -> Operation:
            return replace(asked, result=Result.OK, token=answer.token, revision=answer.revision)

        call = self._client.put(key.encode(), value.encode(), timeout_s=WRITE_TIMEOUT_S)
        operation, _ = await self._record(asked, call, answered)
        return operation

    async def swap(
        self, key: str, value: str, *, expected: int, element: str | None = None, amount: int = 0
    ) -> Swapped:
        """Sets a key if it is unchanged. element, amount: what that adds to the list or the number that it holds."""
        asked = replace(
            self._asked(Kind.COMPARE_AND_SET, key, value=value),
            element=element,
            amount=amount,
            expected_revision=expected,
        )

        def answered(answer: CompareAndSetResult) -> Operation:
            result = Result.OK if answer.succeeded else Result.FAILED
            return replace(asked, result=result, token=answer.token, revision=answer.revision)

        call = self._client.compare_and_set(
            key.encode(), value.encode(), if_revision=expected, timeout_s=WRITE_TIMEOUT_S
        )
        recorded = await self._record(asked, call, answered)
        lost = recorded[1] is not None and not recorded[1].succeeded
        return Swapped(recorded[0], recorded[1] if lost else None)

    async def get(self, key: str) -> Operation:
        """Reads, from whichever node is nearest, at least the state of the newest token."""
        asked = replace(self._asked(Kind.READ, key, value=None), carried=self.token)

        def answered(answer: GetResult) -> Operation:
            return replace(
                asked,
                result=Result.OK,
                value=None if answer.value is None else answer.value.decode(),
                token=answer.token,
                revision=answer.revision,
                mod_revision=answer.mod_revision,
                version=answer.version,
                node=answer.node_id,
                answered_in=answer.region,
            )

        call = self._client.get(key.encode(), token=self.token or None, timeout_s=READ_TIMEOUT_S)
        operation, _ = await self._record(asked, call, answered)
        return operation

    async def export(self) -> bool:
        """All pairs, page by page. False if it was cut off: then nothing is on record."""
        start_s, revision, pairs = time.monotonic(), 0, dict[str, Pair]()
        try:
            async for page in self._client.scan_pages(
                consistency=Consistency.LINEARIZABLE, page_size=EXPORT_PAGE_KEYS, timeout_s=READ_TIMEOUT_S
            ):
                revision = page.revision
                for kv in page.pairs:
                    pairs[kv.key.decode()] = Pair(kv.value.decode(), kv.mod_revision, kv.version)
        except ReplicatorError:
            return False
        self.traffic.history.exports.append(Export(self.worker, revision, pairs, start_s, time.monotonic()))
        self.traffic.served.add(self.worker)
        return True

    def _asked(self, kind: Kind, key: str, *, value: str | None) -> Operation:
        now_s = time.monotonic()
        return Operation(
            kind=kind,
            worker=self.worker,
            region=self.region,
            key=key,
            value=value,
            result=Result.FAILED,
            start_s=now_s,
            end_s=now_s,
        )

    async def _record(
        self, asked: Operation, call: Awaitable[Answer], answered: Callable[[Answer], Operation]
    ) -> tuple[Operation, Answer | None]:
        """An error that does not prove the opposite leaves a write UNKNOWN."""
        answer: Answer | None = None
        self.traffic.writes_in_flight += asked.is_write
        try:
            answer = await call
            done = replace(answered(answer), end_s=time.monotonic())
        except ReplicatorError as error:
            unknown = asked.is_write and error.applied == "unknown"
            done = replace(
                asked,
                result=Result.UNKNOWN if unknown else Result.FAILED,
                error=error.reason,
                end_s=time.monotonic(),
            )
        finally:
            self.traffic.writes_in_flight -= asked.is_write
        self.traffic.record(done)
        self.learn(done.token, done.revision)
        return done, answer
