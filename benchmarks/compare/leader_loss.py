"""SIGKILL of the leader to the next committed write, both systems at the same heartbeat and election timeouts."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, TypeAlias

import grpc.aio

from benchmarks.arena import NO_ETCD, local_cluster, temporary_folder
from benchmarks.compare.rows import Row, at_most_times
from benchmarks.compare.scope import Scope
from benchmarks.compare.task import Figure, Stage, Task, own_clusters
from benchmarks.effort import Stopwatch
from benchmarks.etcd import etcd_cluster, etcd_version
from benchmarks.persist import until_answered
from benchmarks.subjects import BareEtcd, BareReplicator, Subject
from replicator.dev import LocalCluster

OPPONENT: Final = "etcd (same timeouts)"
# etcd draws each timeout from this to twice this; the profile `lan` draws from 0.3 to 0.6 s, heartbeat 0.05 s.
ETCD_TIMEOUTS: Final = ("--heartbeat-interval=50", "--election-timeout=300")
STEADY_S: Final = (0.5, 1.0)  # before each kill; drawn, so that kills meet heartbeats at any phase
PROBE_EVERY_S: Final = 0.01  # at each survivor: the resolution of the figure
GIVE_UP_S: Final = 20.0
SEED: Final = 3

Kill: TypeAlias = Callable[[], None]  # returns once the process is gone: no probe may meet it alive


def leader_loss(scope: Scope) -> Stage[None]:
    """Kills alternate. The same observer watches both: bare puts that begin at both survivors again and again."""
    row = Row("leader killed (SIGKILL) to the next committed write", OPPONENT, "ms", at_most_times(1.0))

    async def measure(_clusters: None, task: Task) -> None:
        dice = random.Random(SEED)
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(temporary_folder())
            ours = await stack.enter_async_context(local_cluster(folder / "replicator"))
            theirs = None
            if etcd_version() is None:
                task.book.omit(row, NO_ETCD)
            else:
                theirs = await stack.enter_async_context(etcd_cluster(folder / "etcd", ETCD_TIMEOUTS))
            for number in range(scope.kills):
                own_ms = await _kill_ours(ours, dice)
                if theirs is None:
                    task.book.add_ours(row, own_ms)
                    continue
                leader = await theirs.leader_now()
                survivors = [BareEtcd(endpoint, ()) for endpoint in theirs.endpoints if endpoint != leader]
                member = theirs.member_at(leader)
                their_ms = await _until_committed(survivors, member.kill9, dice)
                member.start()
                await theirs.leader_now()
                task.say(f"  kill {number + 1} of {scope.kills}: ours {own_ms:.0f} ms, etcd {their_ms:.0f} ms")
                task.book.add(row, own_ms, their_ms)

    figure = Figure("leader_loss", "How long after SIGKILL of the leader is a write committed?", (row,), measure)
    return Stage(own_clusters, (figure,))


async def _kill_ours(cluster: LocalCluster, dice: random.Random) -> float:
    leader = cluster.nodes[await cluster.leader()]
    survivors = [BareReplicator(node.plan.api, ()) for node in cluster.nodes.values() if node is not leader]
    took_ms = await _until_committed(survivors, leader.kill_now, dice)
    leader.start()
    await cluster.until_serving(GIVE_UP_S)
    return took_ms


async def _until_committed(
    survivors: Sequence[BareReplicator] | Sequence[BareEtcd], kill: Kill, dice: random.Random
) -> float:
    """Milliseconds from the kill to the first put that a survivor acknowledges."""
    async with AsyncExitStack() as stack:
        probes: list[Subject] = [await stack.enter_async_context(survivor) for survivor in survivors]
        for probe in probes:
            await until_answered(partial(probe.put, b"probe", b"before the kill"))
        await asyncio.sleep(dice.uniform(*STEADY_S))
        watch = Stopwatch()
        kill()
        await _first_put(probes)
        return watch.elapsed_ms()


async def _first_put(probes: Sequence[Subject]) -> None:
    """A put that begins while there is no leader may wait in vain until its deadline, so others begin beside it."""
    committed = asyncio.Event()
    under_way: list[asyncio.Task[None]] = []

    async def put(probe: Subject) -> None:
        try:
            await probe.put(b"probe", b"after the kill")
        except grpc.aio.AioRpcError:
            return
        committed.set()

    try:
        async with asyncio.timeout(GIVE_UP_S):
            while not committed.is_set():
                under_way += [asyncio.create_task(put(probe)) for probe in probes]
                try:
                    await asyncio.wait_for(committed.wait(), PROBE_EVERY_S)
                except TimeoutError:
                    continue
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
