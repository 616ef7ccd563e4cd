"""Memory of the nodes' own, the page cache aside, while many callers write for minutes."""

import asyncio
import statistics
from typing import Final

import replicator
from benchmarks.arena import local_cluster, temporary_folder
from benchmarks.compare.rows import NO_OPPONENT, Row, at_most_times
from benchmarks.compare.scope import Scope
from benchmarks.compare.sides import Op, Shape, one_call
from benchmarks.compare.task import Figure, Stage, Task, own_clusters
from benchmarks.load import LoadPlan, drive
from benchmarks.proc import memory_of
from benchmarks.subjects import SdkReplicator

LOOKS: Final = 120  # over the whole time
FLAT: Final = 1.1
_MIB: Final = 1 << 20


def memory_use(scope: Scope) -> Stage[None]:
    """Bounded: the largest that any node held. Flat: the last quarter of the time beside the second."""
    label = f"memory beyond the page cache, {scope.callers:,} callers for {scope.memory_s:g} s"
    largest = Row(f"{label}: largest of a node", NO_OPPONENT, "MiB")
    flat = Row(f"{label}: last quarter", "the second quarter", "MiB", at_most_times(FLAT))

    async def measure(_clusters: None, task: Task) -> None:
        with temporary_folder() as folder:
            async with local_cluster(folder) as cluster, replicator.connect(cluster.endpoints()) as client:
                put = one_call(SdkReplicator(client, ()), Shape(Op.PUT, scope.callers, scope.put_keys))
                pids = [process.pid for process in cluster.nodes.values()]
                looks = asyncio.create_task(_watch(pids, scope.memory_s, task))
                sample = await drive(put, LoadPlan(scope.callers, 0.0, scope.memory_s))
                by_look = await looks
        quarter = max(1, len(by_look) // 4)
        last, second = by_look[-quarter:], by_look[quarter : 2 * quarter] or by_look[:1]
        task.book.add(largest, max(by_look))
        task.book.detail(largest, "puts/s meanwhile", sample.per_s)
        task.book.add(flat, statistics.median(last), statistics.median(second))

    figure = Figure("memory", "How much memory do nodes take under load, and does it grow?", (largest, flat), measure)
    return Stage(own_clusters, (figure,))


async def _watch(pids: list[int], seconds: float, task: Task) -> list[float]:
    """MiB of the node that holds most, at each look."""
    found: list[float] = []
    for look in range(LOOKS):
        await asyncio.sleep(seconds / LOOKS)
        found.append(max(memory_of(pid).anonymous for pid in pids) / _MIB)
        if look % (LOOKS // 6) == 0:
            task.say(f"  {look * seconds / LOOKS:.0f} of {seconds:g} s: {found[-1]:.0f} MiB")
    return found
