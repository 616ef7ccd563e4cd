"""One watch of the client: as many streams, one after the other, as it takes, to whichever node serves.

Invariants: every change comes once, in order, and the changes of one revision in one batch; after a broken stream the
next one goes on from the token of the last whole batch, at another node if need be. What contradicts that is a bug of
a node, and ends the watch; it is never passed on. A stream is read only when the caller asks for more, so a caller that
is slow slows the node down, and costs neither memory.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio

from replicator.client import convert
from replicator.client.channels import Channels
from replicator.client.failover import Failover, is_worth_a_retry
from replicator.client.wire_errors import as_errors, garbled
from replicator.model.changes import Change, ChangeBatch, ChangeKind
from replicator.model.errors import Internal, InvalidArgument, ReplicatorError, Unavailable
from replicator.model.limits import CALL_TIMEOUT_S_DEFAULT
from replicator.v1 import kv_pb2

REVISION_BYTES_MAX: Final = 64 << 20  # of keys and values that are watched, of one revision: parts are joined in memory
SILENT_PERIODS: Final = 2  # marks of progress that may fail to come
SILENT_S_MIN: Final = 5.0  # for the first word, which may have to wait for the token's point

_KIND: Final = {kv_pb2.CHANGE_KIND_PUT: ChangeKind.PUT, kv_pb2.CHANGE_KIND_DELETE: ChangeKind.DELETE}
KIND_NUMBER: Final = {kind: number for number, kind in _KIND.items()}


@dataclass(frozen=True, slots=True)
class Patience:
    """progress_s: how often the node is to say something. reconnect_s: for no node to serve; None: for ever."""

    progress_s: float
    reconnect_s: float | None

    @property
    def silence_s(self) -> float:
        """After so long without a word, a node counts as dead."""
        return SILENT_S_MIN + SILENT_PERIODS * self.progress_s


class Watching:
    """request: as the caller wants it to begin; later streams differ in where they begin only."""

    def __init__(
        self, failover: Failover, channels: Channels, request: kv_pb2.WatchRequest, patience: Patience
    ) -> None:
        self._failover, self._channels, self._patience = failover, channels, patience
        self._request = request
        self._parts: list[Change] = []
        self._parts_bytes = 0
        self._last = (0, -1)  # revision and position of the last change
        self._revision = 0  # up to which nothing is missing

    def go_on_from(self, revision: int, token: str) -> None:
        """All up to that revision is known already."""
        self._request.token, self._request.from_revision = token, 0
        self._revision, self._last = revision, (revision, 0xFFFF_FFFF)
        self._drop_parts()

    async def batches(self) -> AsyncGenerator[ChangeBatch, None]:
        """Until the caller leaves, the client is closed, or an error that no other node can mend."""
        tried: set[str] = set()
        attempts, failing_since_s = 0, time.monotonic()
        while True:
            address = self._failover.next_for_stream(tried)
            try:
                async with aclosing(self._stream(address)) as stream:
                    async for batch in stream:
                        self._failover.stream_serves(address)
                        tried.clear()
                        yield batch
                        attempts, failing_since_s = 0, time.monotonic()
            except ReplicatorError as error:
                failure = error
            self._drop_parts()
            attempts += 1
            pause_s = self._failover.stream_failed(address, failure, attempts)
            if self._failover.is_closed or not is_worth_a_retry(failure):
                raise failure
            tried.add(address)
            failing_s = time.monotonic() - failing_since_s + pause_s
            if self._patience.reconnect_s is not None and failing_s > self._patience.reconnect_s:
                raise failure
            await asyncio.sleep(pause_s)

    async def _stream(self, address: str) -> AsyncGenerator[ChangeBatch, None]:
        """One stream. Ends by an error only."""
        connection = self._channels.to(address)
        await connection.ready(self._patience.silence_s)
        self._request.wait_ms = int(CALL_TIMEOUT_S_DEFAULT * 1000.0)
        call = connection.kv.Watch(self._request)
        try:
            while True:
                batch = self._take(await self._message(call, address))
                if batch is not None:
                    yield batch
        finally:
            call.cancel()

    async def _message(self, call: Any, address: str) -> kv_pb2.WatchResponse:
        facts = {"endpoint": address}
        silence_s = self._patience.silence_s
        with as_errors(address, is_write=False):
            try:
                async with asyncio.timeout(silence_s):
                    message = await call.read()
            except TimeoutError:
                raise Unavailable(f"{address} has said nothing for {silence_s:g} s", metadata=facts) from None
        if message is grpc.aio.EOF:
            raise Unavailable(f"{address} has ended the watch", metadata=facts)
        if message is None:  # gRPC's way to say that it does not decode
            raise garbled(address, is_write=False)
        answer: kv_pb2.WatchResponse = message
        return answer

    def _take(self, message: kv_pb2.WatchResponse) -> ChangeBatch | None:
        """None while parts of a revision are still to come. Raises Internal if the node contradicts what it said."""
        for change in message.changes:
            at = (change.revision, change.position)
            if at <= self._last or change.kind not in _KIND:
                last = f"{self._last[0]}.{self._last[1]}"
                raise Internal(f"change {at[0]}.{at[1]} of kind {change.kind} came after {last}")
            self._last = at
            self._parts.append(self._change(change))
        if message.fragment:
            self._parts_bytes += message.ByteSize()
            if self._parts_bytes > REVISION_BYTES_MAX:
                raise _too_large(self._last[0])
            return None
        known = max(self._revision, self._last[0] if self._parts else 0)
        if message.revision < known and (message.revision or self._parts):
            raise Internal(f"revision {message.revision} was promised, and {known} was promised or shown before")
        self._revision = max(self._revision, message.revision)
        if message.token:
            self._request.token, self._request.from_revision = message.token, 0
        changes = tuple(self._parts)
        self._drop_parts()
        return ChangeBatch(changes, message.revision, message.token, message.caught_up)

    def _drop_parts(self) -> None:
        """What came of a revision that is not whole comes again."""
        if self._parts and self._last[0] > self._revision:
            self._last = (self._revision, 0xFFFF_FFFF)
        self._parts, self._parts_bytes = [], 0

    def _change(self, change: kv_pb2.Change) -> Change:
        kind = _KIND[change.kind]
        return Change(
            kind,
            change.key,
            None if kind is ChangeKind.DELETE or self._request.keys_only else change.value,
            change.revision,
            change.position,
            change.create_revision,
            change.version,
            change.time_ms,
            convert.key_value(change.previous) if change.HasField("previous") else None,
        )


def _too_large(revision: int) -> InvalidArgument:
    return InvalidArgument(
        f"the changes of revision {revision} hold more than {REVISION_BYTES_MAX >> 20} MiB; watch fewer "
        "keys, or keys only",
        metadata={"field": "keys_only", "limit": str(REVISION_BYTES_MAX), "revision": str(revision)},
    )
