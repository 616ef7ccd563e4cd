"""The callers."""

import asyncio
import os
import time

import pytest

from benchmarks.load import LoadPlan, drive, each
from benchmarks.proc import CpuMeter, cpu_s_of, machine_busy_s, memory_of


async def test_each_number_is_called_once_with_so_many_callers_at_a_time() -> None:
    called: list[int] = []
    under_way = most = 0

    async def call(number: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        called.append(number)
        under_way -= 1

    await each(call, 100, 7)
    assert sorted(called) == list(range(100))
    assert most == 7


async def test_a_run_counts_only_what_ended_after_the_warm_up() -> None:
    ended_s: list[float] = []

    async def call(_number: int) -> None:
        await asyncio.sleep(0.001)
        ended_s.append(time.perf_counter())

    sample = await drive(call, LoadPlan(callers=3, warm_up_s=0.05, measure_s=0.1))
    assert 0 < len(sample.latencies_s) < len(ended_s)
    assert list(sample.latencies_s) == sorted(sample.latencies_s)
    assert sample.per_s == len(sample.latencies_s) / 0.1


async def test_a_failed_call_ends_the_run() -> None:
    """A benchmark of failures would look fast."""

    async def call(_number: int) -> None:
        raise ConnectionResetError("gone")

    with pytest.raises(ExceptionGroup) as caught:
        await drive(call, LoadPlan(callers=2, warm_up_s=0.0, measure_s=5.0))
    assert caught.group_contains(ConnectionResetError)


async def test_a_run_in_which_nothing_ended_is_refused() -> None:
    async def call(_number: int) -> None:
        await asyncio.sleep(0.2)

    with pytest.raises(RuntimeError, match="measure for longer"):
        await drive(call, LoadPlan(callers=1, warm_up_s=0.0, measure_s=0.01))


def test_memory_of_this_process_is_made_of_its_parts() -> None:
    memory = memory_of(os.getpid())
    assert 0 < memory.anonymous < memory.resident
    assert 0 < memory.file < memory.resident


def test_work_of_this_process_counts_as_the_clients_and_a_dead_process_counts_nothing() -> None:
    meter = CpuMeter(servers=[2**22 + 1])  # beyond the highest process id
    before_s, busy_before_s = cpu_s_of([os.getpid()]), machine_busy_s()
    while cpu_s_of([os.getpid()]) < before_s + 0.05:
        sum(range(10_000))
    use = meter.read()
    assert use.client_s >= 0.05 - 1e-9
    assert use.servers_s == 0.0
    assert use.others_s >= 0.0
    assert machine_busy_s() > busy_before_s
