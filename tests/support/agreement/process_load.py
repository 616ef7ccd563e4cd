"""Callers of real nodes, and the record of what they saw.

Some writers are users of the public client: any node, one write id however often they repeat. All others ask one node
each, and only that one: so a node which has fallen behind, or believes that it leads, does not go unasked, and a leader
is written to from the moment on when it leads, whatever clients believe.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import count
from typing import Self, TypeVar

import grpc.aio

import replicator
from chaos.demo.caller import Caller, Traffic
from chaos.history import History, Kind, Operation, Result
from replicator.client.group_time import GroupTime
from replicator.client.wire_errors import error_of
from replicator.dev import LocalCluster
from replicator.model.errors import ReplicatorError
from replicator.model.ids import NodeId
from replicator.v1 import kv_pb2, kv_pb2_grpc
from tests.support.agreement import record

WRITERS = 3
SHARED_KEYS = 4  # every other write goes to one of them, by every writer
PAUSE_S = 0.02
CALL_TIMEOUT_S = 0.4  # a call that is stuck with the leader of yesterday must not keep its caller from that of today
AFTER_FAILURE_S = 0.1
# A node that comes back is asked again soon.
AT_ONCE = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class AdmissionGate:
    """One node, asked directly."""

    node: NodeId
    region: str
    address: str
    stub: "kv_pb2_grpc.KVServiceAsyncStub"


async def call(door: AdmissionGate, answer: Awaitable[Answer], *, is_write: bool) -> Answer:
    """Raises the error family."""
    try:
        return await answer
    except grpc.aio.AioRpcError as error:
        raise error_of(error, door.address, is_write=is_write) from error


class ProcessLoad:
    """An async context manager: callers come with it and go with it. doors: of the nodes that it began with."""

    def __init__(self, cluster: LocalCluster, history: History, dice: random.Random) -> None:
        self.history, self.traffic = history, Traffic(history)
        self.doors: dict[NodeId, AdmissionGate] = {}
        self._cluster, self._dice = cluster, dice
        self._stack, self._stopping = AsyncExitStack(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._newest: Operation | None = None  # acknowledged or read: what a reader hears of from others
        self._asked = count(1)
        self._group_time = GroupTime()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        for node in self._cluster.nodes:
            await self.door(node)
        nodes = [process.plan for process in self._cluster.nodes.values()]
        async with replicator.connect([plan.api for plan in nodes]) as client:
            self._group_time.heard((await client.status()).log_time_ms)
        for number in range(WRITERS):
            home = nodes[number % len(nodes)]
            client = replicator.connect([plan.api for plan in nodes], home.region)
            self._stack.push_async_callback(client.close)
            caller = Caller(client, f"writer-{number}", home.region, self.traffic)
            self._tasks.append(asyncio.create_task(self._write(caller)))
        for door in list(self.doors.values()):
            self._tasks.append(asyncio.create_task(self._write_at(door)))
            for linearizable in (True, False):
                self._tasks.append(asyncio.create_task(self._read(door, linearizable=linearizable)))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def stop(self) -> None:
        """All callers end after the call in hand. Raises what ended one of them early."""
        self._stopping.set()
        tasks, self._tasks = self._tasks, []
        await asyncio.gather(*tasks)

    async def door(self, node: NodeId) -> AdmissionGate:
        """To that node, whether it was there at the beginning or not."""
        if node not in self.doors:
            plan = self._cluster.nodes[node].plan
            channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(plan.api, options=AT_ONCE))
            self.doors[node] = AdmissionGate(node, plan.region, plan.api, kv_pb2_grpc.KVServiceStub(channel))
        return self.doors[node]

    async def put_at(self, door: AdmissionGate, timeout_s: float) -> Operation:
        """A new key, at that node, once."""
        name = f"asked-{next(self._asked)}"
        asked = self._begun(Kind.PUT, name, door, f"{name}/key", value=name)
        issued_ms = self._group_time.now_ms()
        write_id = kv_pb2.WriteId(client_id=os.urandom(16), sequence=1, oldest_pending=1, issued_ms=issued_ms)
        request = kv_pb2.PutRequest(key=asked.key.encode(), value=name.encode(), write_id=write_id)
        try:
            answer = await call(door, door.stub.Put(request, timeout=timeout_s), is_write=True)
        except ReplicatorError as error:
            return self._failed(asked, error)
        return self._done(replace(asked, result=Result.OK, revision=answer.revision, token=answer.token))

    async def get_at(
        self, door: AdmissionGate, *, linearizable: bool, timeout_s: float = CALL_TIMEOUT_S, worker: str = "asked"
    ) -> Operation:
        """The key that was last heard of, at that node, once."""
        heard = self._newest
        asked = replace(
            self._begun(Kind.READ, worker, door, heard.key if heard else "shared-0"),
            linearizable=linearizable,
            carried=heard.token if heard and not linearizable else "",
        )
        level = kv_pb2.CONSISTENCY_LINEARIZABLE if linearizable else kv_pb2.CONSISTENCY_CAUSAL
        options = kv_pb2.ReadOptions(consistency=level, token=asked.carried)
        request = kv_pb2.GetRequest(key=asked.key.encode(), options=options)
        try:
            answer = await call(door, door.stub.Get(request, timeout=timeout_s), is_write=False)
        except ReplicatorError as error:
            return self._failed(asked, error)
        found = answer.kv if answer.HasField("kv") else None
        seen = record.read(asked, found, answer.revision, answer.token, answer.node_id)
        return self._done(replace(seen, answered_in=answer.region))

    async def _write(self, caller: Caller) -> None:
        for number in count(1):
            shared = number % 2 == 0
            key = f"shared-{self._dice.randrange(SHARED_KEYS)}" if shared else f"{caller.worker}/{number:05d}"
            self._heard(await caller.put(key, f"{caller.worker}/{number}"))
            if await self._over(PAUSE_S):
                return

    async def _write_at(self, door: AdmissionGate) -> None:
        while True:
            put = await self.put_at(door, CALL_TIMEOUT_S)
            if await self._over(PAUSE_S if put.result is Result.OK else AFTER_FAILURE_S):
                return

    async def _read(self, door: AdmissionGate, *, linearizable: bool) -> None:
        worker = f"{'linearizable' if linearizable else 'causal'}-at-{door.node}"
        while True:
            read = await self.get_at(door, linearizable=linearizable, worker=worker)
            if await self._over(AFTER_FAILURE_S if read.result is Result.FAILED else PAUSE_S):
                return

    async def _over(self, pause_s: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), 2 * self._dice.random() * pause_s)
        except TimeoutError:
            return False
        return True

    def _begun(self, kind: Kind, worker: str, door: AdmissionGate, key: str, value: str | None = None) -> Operation:
        return record.begun(kind, worker, door.region, door.node, key, time.monotonic(), value)

    def _done(self, operation: Operation) -> Operation:
        ended = replace(operation, end_s=time.monotonic())
        self.traffic.record(ended)
        self._heard(ended)
        return ended

    def _failed(self, asked: Operation, error: ReplicatorError) -> Operation:
        return self._done(record.failed(asked, error))

    def _heard(self, operation: Operation) -> None:
        self._newest = record.newer(self._newest, operation)
