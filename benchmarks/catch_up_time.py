"""How long does a node that was down need to hold all that was written meanwhile?"""

import asyncio
import random
from typing import Final

import replicator
from benchmarks.arena import PROFILE, local_cluster, temporary_folder
from benchmarks.effort import Effort, Say, Stopwatch
from benchmarks.figures import Collector, Result
from benchmarks.keys import key_of
from benchmarks.load import each
from benchmarks.persist import GIVE_UP_S, PAUSE_S, until_listening
from benchmarks.proc import CpuMeter
from replicator.client import Client
from replicator.dev import LocalCluster, NodeProcess
from replicator.model.errors import ReplicatorError

PUTS: Final = 20_000
CALLERS: Final = 256
VALUE_BYTES: Final = 100
SERVING_TIMEOUT_S: Final = 30.0
SEED: Final = 5


async def run(effort: Effort, say: Say) -> Result:
    """A follower is killed, the others take writes, the follower comes back."""
    found = Collector()
    dice = random.Random(SEED)
    puts = effort.count(PUTS)
    with temporary_folder() as folder:
        async with local_cluster(folder) as cluster, replicator.connect(cluster.endpoints()) as client:
            for number in range(effort.rounds):
                await effort.until_quiet()
                say(f"catch_up_time: round {number + 1} of {effort.rounds}")
                await _once(cluster, client, puts, found, dice)
    return Result(
        benchmark="catch_up_time",
        question=__doc__ or "",
        configuration={
            "nodes": 3, "profile": PROFILE, "puts_missed": puts, "value_bytes": VALUE_BYTES, "writing_callers": CALLERS,
            "rounds": effort.rounds,
        },
        figures=found.figures(),
        notes=("no writes while the node catches up; an entry carries the puts of one turn",),
    )  # fmt: skip


async def _once(cluster: LocalCluster, client: Client, puts: int, found: Collector, dice: random.Random) -> None:
    leader = await cluster.leader(SERVING_TIMEOUT_S)
    follower = next(process for node_id, process in sorted(cluster.nodes.items()) if node_id != leader)
    held = (await cluster.status(leader)).last_index
    await follower.kill9()
    value = dice.randbytes(VALUE_BYTES)
    writing = Stopwatch()
    await each(lambda number: client.put(key_of(number), value, timeout_s=SERVING_TIMEOUT_S), puts, CALLERS)
    wrote_s = writing.elapsed_s()
    wanted = (await cluster.status(leader)).applied_index
    watch = Stopwatch()
    follower.start()
    cpu = CpuMeter([process.pid for process in cluster.nodes.values()])  # its process is a new one
    await until_listening(follower.plan.api)
    listening_s = watch.elapsed_s()
    await _until_applied(follower, wanted)
    converged_s = watch.elapsed_s()
    use = cpu.read()
    await cluster.until_serving(SERVING_TIMEOUT_S)
    found.add("written meanwhile by the other two", "puts/s", puts / wrote_s)
    found.add("entries missed", "entries", wanted - held)
    found.add("process start to listening", "ms", listening_s * 1000.0)
    found.add("process start to converged", "ms", converged_s * 1000.0)
    found.add("listening to converged", "ms", (converged_s - listening_s) * 1000.0)
    found.add("catching up, start included", "puts/s", puts / converged_s)
    found.add("CPU of others meanwhile", "cores", use.others_s / converged_s)


async def _until_applied(node: NodeProcess, index: int) -> None:
    async with asyncio.timeout(GIVE_UP_S), replicator.connect([node.plan.api]) as asking:
        while True:
            try:
                if (await asking.status(node.plan.api)).applied_index >= index:
                    return
            except ReplicatorError:
                node.check_alive()
            await asyncio.sleep(PAUSE_S)
