"""How long after SIGKILL of the leader is the next write committed, with the `lan` profile?"""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import replicator
from benchmarks.arena import PROFILE, local_cluster, temporary_folder
from benchmarks.effort import Effort, Say
from benchmarks.figures import Collector, Result, percentile
from benchmarks.persist import first_of, until_answered
from benchmarks.proc import CpuMeter
from benchmarks.subjects import BareReplicator
from replicator.client import Client
from replicator.dev import LocalCluster

STEADY_S: Final = (0.5, 1.0)  # of writes before each kill; drawn, so that kills meet heartbeats at any phase
SERVING_TIMEOUT_S: Final = 30.0
SEED: Final = 3
CLUSTER, SDK = "the cluster (probes at both survivors)", "an SDK caller that writes all the time"


async def run(effort: Effort, say: Say) -> Result:
    """Two observers of every kill: bare probes at the survivors, and an SDK client with its own back-off."""
    found = Collector()
    dice = random.Random(SEED)
    with temporary_folder() as folder:
        async with local_cluster(folder) as cluster, replicator.connect(cluster.endpoints()) as client:
            for number in range(effort.rounds):
                await effort.until_quiet()
                cluster_ms, sdk_ms = await _kill_once(cluster, client, found, dice)
                say(
                    f"failover_time: kill {number + 1} of {effort.rounds}: cluster {cluster_ms:.0f} ms, "
                    f"SDK {sdk_ms:.0f} ms"
                )
    figures = found.figures()
    spread = Collector()
    for figure in figures:
        if figure.unit == "ms":
            spread.add(f"{figure.name}, p90 of the kills", "ms", percentile(sorted(figure.values), 0.9))
    return Result(
        benchmark="failover_time",
        question=__doc__ or "",
        configuration={"nodes": 3, "profile": PROFILE, "kills": effort.rounds},
        figures=(*figures, *spread.figures()),
        notes=("min and max are those of single kills",),
    )


async def _kill_once(
    cluster: LocalCluster, client: Client, found: Collector, dice: random.Random
) -> tuple[float, float]:
    leader = cluster.nodes[await cluster.leader(SERVING_TIMEOUT_S)]
    survivors = [process for process in cluster.nodes.values() if process is not leader]
    async with AsyncExitStack() as stack:
        probes = [await stack.enter_async_context(BareReplicator(p.plan.api, ())) for p in survivors]
        for probe in probes:
            await until_answered(partial(probe.get_local, b"connect-before-the-kill"))
        killed_s = asyncio.get_running_loop().create_future()
        writing = asyncio.create_task(_first_write_after(client, killed_s))
        await asyncio.sleep(dice.uniform(*STEADY_S))
        cpu = CpuMeter([process.pid for process in survivors])
        at_s = time.perf_counter()
        killing = asyncio.create_task(leader.kill9())
        await asyncio.sleep(0)  # the signal is sent in the first step of `kill9`
        killed_s.set_result(at_s)
        await first_of([partial(probe.put, b"probe", b"after the kill") for probe in probes])
        cluster_ms = (time.perf_counter() - at_s) * 1000.0
        sdk_ms = (await writing - at_s) * 1000.0
        use, took_s = cpu.read(), time.perf_counter() - at_s
        await killing
    found.add(CLUSTER, "ms", cluster_ms)
    found.add(SDK, "ms", sdk_ms)
    found.add("CPU of others meanwhile", "cores", use.others_s / took_s)
    leader.start()
    await cluster.until_serving(SERVING_TIMEOUT_S)
    return cluster_ms, sdk_ms


async def _first_write_after(client: Client, killed_s: "asyncio.Future[float]") -> float:
    """When the first put that began after the kill was acknowledged."""
    while True:
        began_s = time.perf_counter()
        await client.put(b"steady", b"value", timeout_s=SERVING_TIMEOUT_S)
        if killed_s.done() and began_s >= killed_s.result():
            return time.perf_counter()
