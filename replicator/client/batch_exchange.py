"""Batches to one node, on a duplex stream that is opened when it is first needed.

What a stream's end means for a batch without an answer: nothing happened if it was never written, or if the node ended
the stream by itself (it answers all that it reads first); else it is as uncertain as a call whose connection broke.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final, NamedTuple

import grpc.aio

from replicator.client.wire_errors import (
    connection_closed,
    error_of,
    error_of_status,
    garbled,
    is_cancelled,
    same_again,
)
from replicator.model.errors import DeadlineExceeded, OutcomeUnknown, ReplicatorError, ShuttingDown, Unavailable
from replicator.v1 import kv_pb2

MESSAGE_BYTES: Final = 1 << 20  # a message is closed once it holds this much
_MS_MAX: Final = (1 << 32) - 1


class BatchAnswer(NamedTuple):
    """node_id, region: who answered."""

    response: kv_pb2.BatchResponse
    node_id: str
    region: str


class Exchange:
    """All batches of one kind, of one client, to one node."""

    def __init__(self, address: str, open_call: Callable[[], Any], *, is_write: bool) -> None:
        """open_call: begins a call of KVService.Exchange."""
        self._address = address
        self._open_call = open_call
        self._is_write = is_write
        self._numbers = count(1)
        self._stream: _Stream | None = None

    async def ask(self, request: kv_pb2.BatchRequest, timeout_s: float, patience_s: float) -> BatchAnswer:
        """The answer to one batch. Raises what the node answered, or what the end of the stream or of the time means.

        patience_s: the batch is given up once the node has answered nothing at all on this stream for so long.
        Sets id and timeout of the request, which may be asked again elsewhere.
        """
        if self._stream is None or not self._stream.is_open:
            self._stream = _Stream(self._address, self._open_call(), is_write=self._is_write)
        stream = self._stream
        request.id = next(self._numbers)
        request.timeout_ms = min(max(1, int(timeout_s * 1000.0)), _MS_MAX)
        answer = stream.send(request)
        try:
            response = await _answered(stream, answer, timeout_s, patience_s)
        except TimeoutError:
            raise self._too_late(was_written=stream.give_up(request.id)) from None
        except asyncio.CancelledError:
            stream.give_up(request.id)
            raise
        if response.WhichOneof("result") == "error":
            raise error_of_status(response.error, self._address, is_write=self._is_write)
        return BatchAnswer(response, stream.node_id, stream.region)

    @property
    def is_open(self) -> bool:
        """True while batches may be under way."""
        return self._stream is not None and not self._stream.is_over

    def retire(self) -> None:
        """The stream ends once its batches have: the connection below is being replaced."""
        if self._stream is not None:
            self._stream.retire()

    async def close(self) -> None:
        """Batches under way fail."""
        if self._stream is not None:
            await self._stream.close()

    def _too_late(self, *, was_written: bool) -> ReplicatorError:
        facts = {"endpoint": self._address}
        if self._is_write and was_written:
            return OutcomeUnknown(
                f"{self._address} did not answer in time; the write may or may not have happened", metadata=facts
            )
        return DeadlineExceeded(f"{self._address} did not answer in time", metadata=facts)


async def _answered(
    stream: "_Stream", answer: "asyncio.Future[kv_pb2.BatchResponse]", timeout_s: float, patience_s: float
) -> kv_pb2.BatchResponse:
    """Raises TimeoutError."""
    began_s = time.monotonic()
    while not answer.done():
        limit_s = min(began_s + timeout_s, max(began_s, stream.heard_s) + patience_s)
        left_s = limit_s - time.monotonic()
        if left_s <= 0.0:
            raise TimeoutError
        await asyncio.wait({answer}, timeout=left_s)
    return answer.result()


class _Stream:
    """One call of KVService.Exchange."""

    def __init__(self, address: str, call: Any, *, is_write: bool) -> None:
        self._address, self._call, self._is_write = address, call, is_write
        self.node_id = self.region = ""
        self.heard_s = 0.0  # when the node answered last
        self.is_open = True
        self._waiting: dict[int, asyncio.Future[kv_pb2.BatchResponse]] = {}
        self._outgoing: deque[kv_pb2.BatchRequest] = deque()
        self._cancelled: list[int] = []
        self._to_write = asyncio.Event()
        self._tasks = (
            asyncio.create_task(self._read(), name=f"replicator-answers-{address}"),
            asyncio.create_task(self._write(), name=f"replicator-batches-{address}"),
        )

    def send(self, request: kv_pb2.BatchRequest) -> "asyncio.Future[kv_pb2.BatchResponse]":
        answer: asyncio.Future[kv_pb2.BatchResponse] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = answer
        self._outgoing.append(request)
        self._to_write.set()
        return answer

    def give_up(self, number: int) -> bool:
        """Nobody waits for that answer any more. True if the batch may have reached the node, which is told then."""
        self._waiting.pop(number, None)
        self._to_write.set()
        unwritten = next((request for request in self._outgoing if request.id == number), None)
        if unwritten is not None:
            self._outgoing.remove(unwritten)
            return False
        self._cancelled.append(number)
        return True

    @property
    def is_over(self) -> bool:
        return all(task.done() for task in self._tasks)

    def retire(self) -> None:
        """Takes no more batches; ends once those under way have."""
        self.is_open = False
        self._to_write.set()

    async def close(self) -> None:
        self.is_open = False
        self._call.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail(connection_closed(self._address, is_write=self._is_write))

    async def _read(self) -> None:
        """Delivers answers until the stream ends, then says what that means for the batches left."""
        end: ReplicatorError = ShuttingDown(f"{self._address} is shutting down and has not read this batch")
        try:
            while (message := await self._call.read()) is not grpc.aio.EOF:
                if message is None:  # gRPC's way to say that it does not decode
                    end = garbled(self._address, is_write=self._is_write)
                    self._call.cancel()
                    break
                self.heard_s = time.monotonic()
                if message.node_id:
                    self.node_id, self.region = message.node_id, message.region
                for response in message.batches:
                    answer = self._waiting.pop(response.id, None)
                    if answer is not None and not answer.done():
                        answer.set_result(response)
                if not self.is_open:
                    self._to_write.set()
        except grpc.aio.AioRpcError as error:
            end = error_of(error, self._address, is_write=self._is_write)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            end = connection_closed(self._address, is_write=self._is_write)
        self.is_open = False
        self._tasks[1].cancel()
        self._fail(end)

    def _fail(self, end: ReplicatorError) -> None:
        """Each batch gets an error of its own. end: what the end of the stream means for those that were written."""
        unwritten = {request.id for request in self._outgoing}
        waiting, self._waiting = self._waiting, {}
        self._outgoing.clear()
        for number, answer in waiting.items():
            if answer.done():
                continue
            if number in unwritten:
                never_sent = f"the connection to {self._address} ended before this was sent"
                answer.set_exception(Unavailable(never_sent, metadata={"endpoint": self._address}))
            else:
                answer.set_exception(same_again(end))

    async def _write(self) -> None:
        try:
            while self.is_open or self._waiting:
                if not self._outgoing and not self._cancelled:
                    self._to_write.clear()
                    await self._to_write.wait()
                    continue
                await self._call.write(self._next_message())
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            self.is_open = False  # how it ended is the reader's to tell
        except asyncio.CancelledError:
            self.is_open = False
            if is_cancelled():
                raise

    def _next_message(self) -> kv_pb2.BatchRequests:
        leaving: list[kv_pb2.BatchRequest] = []
        size = 0
        while self._outgoing:
            size += self._outgoing[0].ByteSize()
            if leaving and size > MESSAGE_BYTES:
                break
            leaving.append(self._outgoing.popleft())
        cancelled, self._cancelled = self._cancelled, []
        return kv_pb2.BatchRequests(batches=leaving, cancelled=cancelled)
