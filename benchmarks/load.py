"""Callers that call again as soon as they are answered, and what they saw. Knows nothing of what is called.

A closed loop: the callers' number is fixed, the rate is what comes of it. So a stall holds back the calls that would
have met it, and percentiles of such a run are those of served calls, not of calls intended.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.figures import percentile
from benchmarks.proc import CpuMeter, CpuUse

OneCall: TypeAlias = Callable[[int], Awaitable[object]]  # argument: a number that no other call of the run has


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """callers: at a time. warm_up_s: before anything counts. measure_s: what counts."""

    callers: int
    warm_up_s: float
    measure_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What counted. latencies_s: ascending, of the calls that ended within the measured time, whenever they began."""

    latencies_s: tuple[float, ...]
    measured_s: float
    cpu: CpuUse

    @property
    def per_s(self) -> float:
        return len(self.latencies_s) / self.measured_s

    def latency_ms(self, share: float) -> float:
        return percentile(self.latencies_s, share) * 1000.0

    def per_call_us(self, cpu_s: float) -> float:
        """CPU seconds of the run as microseconds a call."""
        return cpu_s / len(self.latencies_s) * 1e6


async def drive(call: OneCall, plan: LoadPlan, server_pids: Iterable[int] = ()) -> Sample:
    """Any failed call ends the run with its error: a benchmark of failures would look fast."""
    numbers = iter(range(1 << 62))
    latencies_s: list[float] = []
    counts_from_s = time.perf_counter() + plan.warm_up_s
    ends_s = counts_from_s + plan.measure_s

    async def caller() -> None:
        while (began_s := time.perf_counter()) < ends_s:
            await call(next(numbers))
            ended_s = time.perf_counter()
            if counts_from_s <= ended_s <= ends_s:
                latencies_s.append(ended_s - began_s)

    async def meter() -> CpuUse:
        await asyncio.sleep(plan.warm_up_s)
        cpu = CpuMeter(server_pids)
        await asyncio.sleep(plan.measure_s)
        return cpu.read()

    async with asyncio.TaskGroup() as group:
        metering = group.create_task(meter())
        for _ in range(plan.callers):
            group.create_task(caller())
    if not latencies_s:
        raise RuntimeError(f"no call ended within {plan.measure_s:g} s: measure for longer")
    return Sample(tuple(sorted(latencies_s)), plan.measure_s, metering.result())


async def each(call: OneCall, count: int, callers: int) -> None:
    """Calls `count` times, `callers` at a time."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(callers, count)):
            group.create_task(caller())
