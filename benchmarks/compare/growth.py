"""One cluster of ours that is filled step by step: what operations cost as it grows, and how soon it is back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import replicator
from benchmarks.arena import local_cluster, temporary_folder
from benchmarks.compare.pair import our_roles
from benchmarks.compare.rows import NO_OPPONENT, Row, at_most, at_most_times
from benchmarks.compare.scope import HUGE_SIZE, Scope
from benchmarks.compare.sides import Op, Shape, one_call, reading_of
from benchmarks.compare.task import Figure, Stage, Task
from benchmarks.effort import Stopwatch
from benchmarks.keys import key_of
from benchmarks.load import LoadPlan, OneCall, drive, each
from benchmarks.persist import first_of, until_listening
from benchmarks.subjects import BareReplicator, SdkReplicator
from replicator.client import Client
from replicator.dev import LocalCluster, NodeProcess

VALUE_BYTES: Final = 100
COST_CALLERS: Final = 64
PAGE_PAIRS: Final = 100
PAGE_CALLERS: Final = 8
SERVING_TIMEOUT_S: Final = 120.0
RESTART_GOALS_S: Final = {1_000_000: 0.5, HUGE_SIZE: 1.5}  # the goals hold for these sizes, and for no smaller one
POWER_CUT_GOAL_S: Final = 2.0
OPERATIONS: Final = ("put", "get", "scan page")

Ask: TypeAlias = Callable[[BareReplicator], Awaitable[None]]


@dataclass(slots=True)
class Growing:
    """held: keys so far, 0 to held - 1."""

    cluster: LocalCluster
    client: Client
    held: int = 0

    async def grow(self, keys: int, limit_s: float) -> None:
        """Raises RuntimeError if the store does not take them in time."""
        value, first = bytes(VALUE_BYTES), self.held

        async def put(number: int) -> None:
            await self.client.put(key_of(first + number), value)

        try:
            async with asyncio.timeout(limit_s):
                await each(put, keys - first, 1_000)
        except TimeoutError:
            raise RuntimeError(f"{keys - first:,} puts took longer than {limit_s:g} s") from None
        self.held = keys


@asynccontextmanager
async def _empty_cluster(_task: Task) -> AsyncIterator[Growing]:
    with temporary_folder() as folder:
        async with local_cluster(folder) as cluster, replicator.connect(cluster.endpoints()) as client:
            yield Growing(cluster, client)


def growth(scope: Scope) -> Stage[Growing]:
    """Cost first, since it fills the cluster; then the restarts of what is full."""
    return Stage(_empty_cluster, (_cost(scope), _restart(scope), _power_cut(scope)))


def _cost(scope: Scope) -> Figure[Growing]:
    least, most = scope.sizes[0], scope.sizes[-1]
    opponent = f"replicator, {least:,} keys"
    rows = {
        name: Row(f"cost of a {name}, {most:,} keys", opponent, "CPU us of 3 servers", at_most_times(1.3))
        for name in OPERATIONS
    }

    async def measure(growing: Growing, task: Task) -> None:
        found: dict[int, dict[str, list[float]]] = {}
        for size in scope.sizes:
            task.say(f"  filling to {size:,} keys")
            await growing.grow(size, scope.fill_limit_s)
            found[size] = await _costs(growing, scope)
            task.say("  " + ", ".join(f"{name} {min(us):.0f} us" for name, us in found[size].items()))
        for name, row in rows.items():
            for own, other in zip(found[most][name], found[least][name], strict=True):
                task.book.add(row, own, other)
            for size in scope.sizes:
                for cost_us in found[size][name]:
                    task.book.detail(row, f"{size:,} keys, us", cost_us)

    return Figure("cost", "What do operations cost as the store grows?", tuple(rows.values()), measure)


async def _costs(growing: Growing, scope: Scope) -> dict[str, list[float]]:
    subject = SdkReplicator(growing.client, ())
    put = one_call(subject, Shape(Op.PUT, COST_CALLERS, growing.held))
    get = one_call(subject, Shape(Op.LOCAL, COST_CALLERS, growing.held))
    calls: dict[str, tuple[OneCall, int]] = {
        "put": (put, COST_CALLERS), "get": (get, COST_CALLERS), "scan page": (_page(growing), PAGE_CALLERS),
    }  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(scope.rounds):
        for name, (call, callers) in calls.items():
            roles = await our_roles(growing.cluster)()
            pids = [pid for group in roles.values() for pid in group]
            sample = await drive(call, LoadPlan(callers, scope.warm_up_s, scope.measure_s), pids)
            cpu_us = reading_of(sample, roles).cpu_us
            found[name].append(sum(us for role, us in cpu_us.items() if role != "client"))
    return found


def _page(growing: Growing) -> OneCall:
    """One page from a place that moves through all keys; the keys are dense, so a page holds what it asks for."""

    async def page(number: int) -> None:
        first = number * 7919 * PAGE_PAIRS % max(1, growing.held - PAGE_PAIRS)
        pairs = 0
        async for _pair in growing.client.scan(
            start=key_of(first), end=key_of(first + PAGE_PAIRS), page_size=PAGE_PAIRS
        ):
            pairs += 1
        if pairs != min(PAGE_PAIRS, growing.held):
            raise RuntimeError(f"a page of {pairs} pairs from key {first}, of {growing.held} keys")

    return page


def _restart(scope: Scope) -> Figure[Growing]:
    size = scope.sizes[-1]
    limit_s = RESTART_GOALS_S.get(size)
    row = Row(
        f"restart of one node to serving, {size:,} keys",
        NO_OPPONENT,
        "s",
        None if limit_s is None else at_most(limit_s),
    )
    huge = Row(
        f"restart of one node to serving, {HUGE_SIZE:,} keys", NO_OPPONENT, "s", at_most(RESTART_GOALS_S[HUGE_SIZE])
    )

    async def measure(growing: Growing, task: Task) -> None:
        if row != huge:
            task.book.omit(huge, "it takes the option --huge")
        await growing.grow(max(size, growing.held), scope.fill_limit_s)
        for number in range(scope.restarts):
            leader = await growing.cluster.leader(SERVING_TIMEOUT_S)
            follower = next(process for name, process in growing.cluster.nodes.items() if name != leader)
            took_s = await _until_back(growing.cluster, [follower], partial(_get, key=key_of(size // 2)))
            task.say(f"  restart {number + 1} of {scope.restarts}: {took_s:.2f} s")
            task.book.add(row, took_s)

    rows = (row,) if row == huge else (row, huge)
    return Figure("restart", "How soon does a restarted node serve?", rows, measure)


def _power_cut(scope: Scope) -> Figure[Growing]:
    row = Row(
        f"kill -9 of all nodes under {scope.callers:,} callers to the next committed write",
        NO_OPPONENT, "s", at_most(POWER_CUT_GOAL_S),
    )  # fmt: skip

    async def measure(growing: Growing, task: Task) -> None:
        for number in range(scope.restarts):
            async with replicator.connect(growing.cluster.endpoints()) as client:
                callers = _writers(client, scope)
                await asyncio.sleep(scope.warm_up_s + scope.measure_s)
                took_s = await _until_back(growing.cluster, list(growing.cluster.nodes.values()), _put)
                for caller in callers:
                    caller.cancel()
                await asyncio.gather(*callers, return_exceptions=True)
            task.say(f"  power cut {number + 1} of {scope.restarts}: {took_s:.2f} s")
            task.book.add(row, took_s)

    return Figure("power_cut", "How soon does a cluster commit again that lost all nodes under load?", (row,), measure)


def _writers(client: Client, scope: Scope) -> list[asyncio.Task[None]]:
    put = one_call(SdkReplicator(client, ()), Shape(Op.PUT, scope.callers, scope.put_keys))

    async def write() -> None:
        while True:
            await put(0)

    return [asyncio.create_task(write()) for _ in range(scope.callers)]


async def _until_back(cluster: LocalCluster, nodes: list[NodeProcess], ask: Ask) -> float:
    """Seconds from the start of the killed processes to the first answer of any of them."""
    await asyncio.gather(*(node.kill9() for node in nodes))
    watch = Stopwatch()
    for node in nodes:
        node.start()
    await first_of([partial(_answer, node.plan.api, ask) for node in nodes])
    took_s = watch.elapsed_s()
    await cluster.until_serving(SERVING_TIMEOUT_S)
    return took_s


async def _answer(address: str, ask: Ask) -> None:
    await until_listening(address)
    async with BareReplicator(address, ()) as node:
        await ask(node)


async def _get(node: BareReplicator, *, key: bytes) -> None:
    if await node.get_local(key) is None:
        raise RuntimeError(f"a node serves, but without {key!r}")


async def _put(node: BareReplicator) -> None:
    await node.put(b"after-the-power-cut", b"value")
