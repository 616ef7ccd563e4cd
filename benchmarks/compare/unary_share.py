"""How much of a unary put is gRPC itself: beside it, a unary call of the same size to a method that does nothing."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import grpc.aio

from benchmarks.compare.empty_server import PATH
from benchmarks.compare.pair import Pair
from benchmarks.compare.rows import Row
from benchmarks.compare.scope import Scope
from benchmarks.compare.sides import Op, Reading, Shape
from benchmarks.compare.task import Figure, Task
from benchmarks.load import LoadPlan, drive
from benchmarks.subjects import CALL_TIMEOUT_S

OPPONENT: Final = "an empty unary method"
START_TIMEOUT_S: Final = 30.0
REQUEST_BYTES: Final = 120  # a put of a key of 16 bytes and a value of 100


def unary_share(scope: Scope) -> Figure[Pair]:
    """No goal: it says what no change of ours can take away from unary calls."""
    label = f"unary put, {scope.fewer_callers:,} callers: CPU of the client and of the node that is called"
    row = Row(label, OPPONENT, "us")

    async def measure(pair: Pair, task: Task) -> None:
        shape = Shape(Op.PUT, scope.fewer_callers, scope.put_keys)
        async with _empty_method() as empty:
            for _ in range(scope.rounds):
                ours = await pair.unary.measure(shape, scope.warm_up_s, scope.measure_s)
                theirs = await empty.measure(shape, scope)
                task.book.add(row, ours.cpu_us["client"] + ours.cpu_us["leader"], sum(theirs.values()))
                for role, cpu_us in theirs.items():
                    task.book.detail(row, f"theirs: CPU of {role}, us an operation", cpu_us)
                _detail(task, row, ours)

    return Figure("unary_share", "How much of a unary put is gRPC itself?", (row,), measure)


def _detail(task: Task, row: Row, ours: Reading) -> None:
    for role in ("client", "leader"):
        task.book.detail(row, f"ours: CPU of {role}, us an operation", ours.cpu_us[role])


@dataclass(frozen=True, slots=True)
class _Empty:
    pid: int
    call: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"

    async def measure(self, shape: Shape, scope: Scope) -> dict[str, float]:
        """CPU us a call, of client and server."""
        request = bytes(REQUEST_BYTES)

        async def once(_number: int) -> None:
            await self.call(request, timeout=CALL_TIMEOUT_S)

        sample = await drive(once, LoadPlan(shape.callers, scope.warm_up_s, scope.measure_s), [self.pid])
        return {"client": sample.per_call_us(sample.cpu.client_s), "server": sample.per_call_us(sample.cpu.servers_s)}


@asynccontextmanager
async def _empty_method() -> AsyncIterator[_Empty]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.compare.empty_server",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield _Empty(process.pid, channel.unary_unary(PATH))
    finally:
        process.kill()
        await process.wait()
