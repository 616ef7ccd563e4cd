"""How long one attempt is waited for: as long as the node answers anything, or for a while of silence."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from replicator.client.batch_exchange import Exchange
from replicator.model.errors import OutcomeUnknown
from replicator.v1 import kv_pb2

LONG_S = 30.0
SHORT_S = 1.0


class FakeCall:
    """A stream to a node that is a function: it gets each batch, and what it returns is answered."""

    def __init__(self, handler: Callable[[kv_pb2.BatchRequest], Awaitable[None]]) -> None:
        self._handler = handler
        self.answers: asyncio.Queue[kv_pb2.BatchResponses] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self.cancelled: list[int] = []
        self.told = asyncio.Event()  # that a batch is given up

    async def write(self, message: kv_pb2.BatchRequests) -> None:
        self.cancelled.extend(message.cancelled)
        if message.cancelled:
            self.told.set()
        for batch in message.batches:
            self._tasks.append(asyncio.create_task(self._serve(batch)))

    async def _serve(self, batch: kv_pb2.BatchRequest) -> None:
        await self._handler(batch)
        response = kv_pb2.BatchResponse(id=batch.id, written=kv_pb2.WriteBatchResult(revisions=[1]))
        await self.answers.put(kv_pb2.BatchResponses(batches=[response]))

    async def read(self) -> Any:
        return await self.answers.get()

    async def done_writing(self) -> None:
        """Nothing follows."""

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.answers.put_nowait(grpc.aio.EOF)  # type: ignore[arg-type]


def a_write() -> kv_pb2.BatchRequest:
    return kv_pb2.BatchRequest(write=kv_pb2.WriteBatch(keys=[b"k"], values=[b"v"]))


async def test_a_batch_of_a_node_that_answers_others_is_waited_for() -> None:
    """It is slow, not silent: asking another node as well would only double the load."""
    slow_may_end, slow = asyncio.Event(), a_write()

    async def node(batch: kv_pb2.BatchRequest) -> None:
        if batch.id == 1:
            await slow_may_end.wait()

    call = FakeCall(node)
    exchange = Exchange("a:1", lambda: call, is_write=True)
    waiting = asyncio.create_task(exchange.ask(slow, LONG_S, SHORT_S))
    await asyncio.sleep(0)  # it is the first one
    ends_s = asyncio.get_running_loop().time() + 2 * SHORT_S
    while asyncio.get_running_loop().time() < ends_s:  # the node is never silent for as long as that
        await exchange.ask(a_write(), LONG_S, LONG_S)
        await asyncio.sleep(SHORT_S / 20)
    slow_may_end.set()

    assert (await waiting).response.written.revisions == [1]
    assert call.cancelled == []
    await exchange.close()


async def test_a_batch_of_a_silent_node_is_given_up_and_the_node_is_told() -> None:
    async def hangs(_batch: kv_pb2.BatchRequest) -> None:
        await asyncio.Event().wait()

    call = FakeCall(hangs)
    exchange = Exchange("a:1", lambda: call, is_write=True)
    with pytest.raises(OutcomeUnknown, match="did not answer in time"):
        await exchange.ask(a_write(), LONG_S, SHORT_S)
    async with asyncio.timeout(LONG_S):
        await call.told.wait()
    assert call.cancelled == [1]
    await exchange.close()
