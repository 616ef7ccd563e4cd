"""How many MB/s reach a follower through the log, and how long does a linearizable read take meanwhile?

Two voters, so nothing is committed that has not crossed the path, and no read confirmed. Shows that the window of what
is under way fills a path, and hardly does more: all beyond that queues, and heartbeats and reads wait behind it.
"""

import asyncio
import random
from dataclasses import dataclass, replace
from typing import Final

import replicator
from benchmarks.arena import temporary_folder
from benchmarks.effort import Effort, Say, Stopwatch
from benchmarks.figures import Collector, Result, percentile
from benchmarks.load import each
from chaos.wire.bandwidth import Bandwidth
from chaos.wire.latency import Latency
from chaos.wire.link import Link
from chaos.wire.settings import LineSettings, LinkSettings
from replicator.client import Client
from replicator.dev import LocalCluster, plan_cluster
from replicator.dev.cluster_plan import SeenAt
from replicator.model.values import Consistency

VALUE_BYTES: Final = 256 << 10
TOTAL_BYTES: Final = 96 << 20
CALLERS: Final = 192  # 48 MiB asked for at a time, more than any path here holds
PROBE_EVERY_S: Final = 0.25
CALL_TIMEOUT_S: Final = 60.0
PROFILE: Final = "wan"
SEED: Final = 7


@dataclass(frozen=True, slots=True)
class PathPlan:
    """bytes_per_s: each way; None for what the machine can carry."""

    round_trip_ms: int
    bytes_per_s: int | None

    @property
    def label(self) -> str:
        rate = "" if self.bytes_per_s is None else f", {self.bytes_per_s // 10**6} MB/s"
        return f"round trip {self.round_trip_ms} ms{rate}"

    @property
    def settings(self) -> LinkSettings:
        line = LineSettings(latency=Latency(self.round_trip_ms / 2000), bandwidth=Bandwidth(self.bytes_per_s))
        return LinkSettings(line, line)


PATHS: Final = (PathPlan(1, None), PathPlan(100, None), PathPlan(100, 10_000_000))


async def run(effort: Effort, say: Say) -> Result:
    """A fresh pair for each path in each round, since the leader may be either."""
    found = Collector()
    total_bytes = max(4 << 20, effort.count(TOTAL_BYTES))
    for number in range(effort.rounds):
        for path in PATHS:
            say(f"replication_throughput: round {number + 1} of {effort.rounds}, {path.label}")
            await effort.until_quiet()
            await _measure(path, total_bytes, found)
    return Result(
        benchmark="replication_throughput",
        question=(__doc__ or "").splitlines()[0],
        configuration={
            "nodes": 2, "profile": PROFILE, "value_bytes": VALUE_BYTES, "callers": CALLERS, "bytes_a_run": total_bytes,
            "rounds": effort.rounds,
        },
        figures=found.figures(),
        notes=("both nodes, the client and the path share two cores, which bounds paths without a rate of their own",),
    )  # fmt: skip


async def _measure(path: PathPlan, total_bytes: int, found: Collector) -> None:
    with temporary_folder() as folder:
        plan = plan_cluster(folder, ("eu", "us"), profile=PROFILE)
        dialled, dialling = sorted(plan.nodes, key=lambda node: node.id)  # the greater id dials
        async with Link(0, dialled.peer, path.settings) as link:
            routed = replace(plan, seen_from={(dialling.id, dialled.id): SeenAt(peer=link.address)})
            async with LocalCluster(routed) as cluster, replicator.connect(cluster.endpoints()) as client:
                await client.put(b"warm", b"up", timeout_s=CALL_TIMEOUT_S)
                await _fill(client, total_bytes, path, found)


async def _fill(client: Client, total_bytes: int, path: PathPlan, found: Collector) -> None:
    value, waits_s = random.Random(SEED).randbytes(VALUE_BYTES), list[float]()
    over = asyncio.Event()

    async def probe() -> None:
        while not over.is_set():
            watch = Stopwatch()
            await client.get(b"warm", consistency=Consistency.LINEARIZABLE, timeout_s=CALL_TIMEOUT_S)
            waits_s.append(watch.elapsed_s())
            await asyncio.sleep(PROBE_EVERY_S)

    count = total_bytes // VALUE_BYTES
    async with asyncio.TaskGroup() as group:
        group.create_task(probe())
        watch = Stopwatch()
        await each(lambda number: client.put(b"%08d" % number, value, timeout_s=CALL_TIMEOUT_S), count, CALLERS)
        took_s = watch.elapsed_s()
        over.set()
    found.add(f"{path.label}: committed", "MB/s", count * VALUE_BYTES / 1e6 / took_s)
    found.add(f"{path.label}: a linearizable read meanwhile, p50", "ms", percentile(sorted(waits_s), 0.5) * 1000)
