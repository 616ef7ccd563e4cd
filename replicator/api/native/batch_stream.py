"""Exchange: batches arrive on a stream, are answered side by side, and their answers leave as they come.

Bounds, for each stream: batches under way, and bytes of requests under way and of answers that the client has not
taken. At either bound no further message is read, so a client that is slow or silent stops itself, and costs no more
memory.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import grpc.aio

from replicator.api.context import BatchContext, Context
from replicator.api.grpc_status import error_trailers, short, status_code
from replicator.api.interceptors.unary import Handler
from replicator.model.errors import InvalidArgument, ReplicatorError
from replicator.v1 import kv_pb2

STREAM_BATCHES_MAX: Final = 64
STREAM_BYTES_MAX: Final = 8 << 20
MESSAGE_BYTES: Final = 1 << 20  # a message of answers is closed once it holds this much; an answer is hardly larger

Requests = AsyncIterator[kv_pb2.BatchRequests]


class BatchStreams:
    """All open streams of a node."""

    def __init__(self, handlers: Mapping[str, Handler], first: kv_pb2.BatchResponses) -> None:
        """handlers: of a BatchRequest, by the name of its batch field, "" if none; they give a BatchResponse.

        first: the first message of each stream.
        """
        self._handlers = handlers
        self._first = first
        self._open: set[BatchStream] = set()
        self._draining = False
        self._none_open = asyncio.Event()
        self._none_open.set()

    async def serve(self, requests: Requests, context: Any) -> None:
        """Until the client has no more batches, or the node drains."""
        stream = BatchStream(self._handlers)
        self._open.add(stream)
        self._none_open.clear()
        if self._draining:
            stream.drain()
        try:
            await stream.serve(requests, context, self._first)
        except ReplicatorError as error:
            await context.abort(status_code(error), short(error.message), error_trailers(error))
        finally:
            self._open.discard(stream)
            if not self._open:
                self._none_open.set()

    def drain(self) -> None:
        """No further batch is read; each stream ends with OK once what was read is answered."""
        self._draining = True
        for stream in self._open:
            stream.drain()

    async def wait_ended(self) -> None:
        """Returns once no stream is open."""
        await self._none_open.wait()


class BatchStream:
    """One stream."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._answers: deque[tuple[kv_pb2.BatchResponse, BatchContext]] = deque()
        self._held_bytes = 0  # of requests under way, and of answers until they are written
        self._reading: asyncio.Task[None] | None = None
        self._draining = self._all_answered = False
        self._has_room, self._to_write = asyncio.Event(), asyncio.Event()

    def drain(self) -> None:
        """A message that is arriving in this moment counts as not read."""
        self._draining = True
        if self._reading is not None:
            self._reading.cancel()

    async def serve(self, requests: Requests, context: Any, first: kv_pb2.BatchResponses) -> None:
        """Returns once all that was read is answered. Raises what ends the stream; then nothing goes on."""
        await context.write(first)
        reading = self._reading = asyncio.create_task(self._read(requests, context), name="exchange-read")
        writing = asyncio.create_task(self._write(context), name="exchange-write")
        if self._draining:
            reading.cancel()
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()  # it ends first by an error only
            if not reading.cancelled():
                reading.result()
            while self._under_way:
                await asyncio.wait(self._under_way.values())
            self._all_answered = True
            self._to_write.set()
            await writing
        finally:
            tasks = [reading, writing, *self._under_way.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _, answered in self._answers:
                answered.finish()

    async def _read(self, requests: Requests, context: Context) -> None:
        async for message in requests:
            for number in message.cancelled:
                task = self._under_way.get(number)
                if task is not None:
                    task.cancel()
            for batch in message.batches:
                while len(self._under_way) >= STREAM_BATCHES_MAX or self._held_bytes >= STREAM_BYTES_MAX:
                    self._has_room.clear()
                    await self._has_room.wait()
                self._begin(batch, context)

    def _begin(self, batch: kv_pb2.BatchRequest, context: Context) -> None:
        if batch.id in self._under_way:
            raise InvalidArgument(f"two batches with the id {batch.id} on one stream", metadata={"field": "id"})
        size = batch.ByteSize()
        self._held_bytes += size
        task = asyncio.create_task(self._evaluate(batch, context), name="exchange-batch")
        self._under_way[batch.id] = task
        task.add_done_callback(lambda _: self._ended(batch.id, size))

    async def _evaluate(self, batch: kv_pb2.BatchRequest, stream: Context) -> None:
        context = BatchContext(batch, stream)
        in_place: Any = context  # of gRPC's own
        try:
            answer = await self._handlers[batch.WhichOneof("batch") or ""](batch, in_place)
        except grpc.aio.AbortError:
            answer = kv_pb2.BatchResponse(id=batch.id, error=context.error)
        except BaseException:
            context.finish()
            raise
        self._answers.append((answer, context))
        self._held_bytes += answer.ByteSize()
        self._to_write.set()

    def _ended(self, number: int, size: int) -> None:
        del self._under_way[number]
        self._released(size)

    def _released(self, size: int) -> None:
        self._held_bytes -= size
        self._has_room.set()

    async def _write(self, context: Any) -> None:
        while True:
            while not self._answers:
                if self._all_answered:
                    return
                self._to_write.clear()
                await self._to_write.wait()
            leaving, answered, size = [], [], 0
            while self._answers and size < MESSAGE_BYTES:
                answer, its_context = self._answers.popleft()
                leaving.append(answer)
                answered.append(its_context)
                size += answer.ByteSize()
            try:
                await context.write(kv_pb2.BatchResponses(batches=leaving))
            finally:
                for its_context in answered:
                    its_context.finish()
            self._released(size)
