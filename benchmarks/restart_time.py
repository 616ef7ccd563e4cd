"""How soon does a restarted node serve with a million keys, and how much memory and disk do they take?"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.arena import PROFILE, REGIONS, temporary_folder
from benchmarks.effort import Effort, Say, Stopwatch
from benchmarks.figures import Collector, Result
from benchmarks.keys import key_of
from benchmarks.offline_load import Filling, fill
from benchmarks.persist import first_of, until_listening
from benchmarks.proc import CpuMeter, memory_of
from benchmarks.subjects import BareReplicator
from replicator.dev import LocalCluster, NodeProcess, plan_cluster

KEYS: Final = 1_000_000
VALUE_BYTES: Final = 100
SERVING_TIMEOUT_S: Final = 60.0
SEED: Final = 6
_MIB: Final = 1 << 20


async def run(effort: Effort, say: Say) -> Result:
    """The same cluster empty and full, so that the share of the start that has nothing to do with the keys is seen."""
    found = Collector()
    keys = effort.count(KEYS)
    for held in (0, keys):
        with temporary_folder() as folder:
            await _with_keys(folder, held, effort, found, say)
    return Result(
        benchmark="restart_time",
        question=__doc__ or "",
        configuration={
            "nodes": 3, "profile": PROFILE, "keys": keys, "key_bytes": 16, "value_bytes": VALUE_BYTES,
            "rounds": effort.rounds,
        },
        figures=found.figures(),
        notes=(
            "the kernel's page cache is warm: the data file was written or read shortly before",
            "memory: anonymous is the process's own; file is the mapped data file, which the kernel takes back at will",
            "the log is too short to be compacted, so the data holds every value twice: in the log and in the state",
        ),
    )  # fmt: skip


async def _with_keys(folder: Path, keys: int, effort: Effort, found: Collector, say: Say) -> None:
    plan = plan_cluster(folder, REGIONS, profile=PROFILE)
    plan.write()
    if keys:
        for node in plan.nodes:
            say(f"restart_time: filling {node.id} with {keys:,} keys")
            await asyncio.to_thread(fill, plan, node, Filling(keys, VALUE_BYTES, SEED))
    async with LocalCluster(plan, start_timeout_s=SERVING_TIMEOUT_S) as cluster:
        label = f"{keys:,} keys"
        for number in range(effort.rounds):
            await effort.until_quiet()
            say(f"restart_time: {label}, round {number + 1} of {effort.rounds}")
            await _restart_all(cluster, keys, f"{label}, all three nodes", found)
            follower = await _a_follower(cluster)
            await _restart(cluster, [follower], keys, f"{label}, one of three", found)
            await _sizes(cluster, follower, label, found)


async def _restart_all(cluster: LocalCluster, keys: int, label: str, found: Collector) -> None:
    await _restart(cluster, list(cluster.nodes.values()), keys, label, found)


async def _restart(
    cluster: LocalCluster, nodes: Sequence[NodeProcess], keys: int, label: str, found: Collector
) -> None:
    """SIGKILL, then start; from there to the first answer through any of the started nodes."""
    await asyncio.gather(*(node.kill9() for node in nodes))
    key = key_of(keys // 2)
    watch = Stopwatch()
    for node in nodes:
        node.start()
    cpu = CpuMeter([process.pid for process in cluster.nodes.values()])

    async def first(kind: str) -> float:
        await first_of([partial(_answer_of, node.plan.api, kind, key, keys > 0) for node in nodes])
        return watch.elapsed_ms()

    get_ms, put_ms = await asyncio.gather(first("get"), first("put"))
    use, took_s = cpu.read(), watch.elapsed_s()
    await cluster.until_serving(SERVING_TIMEOUT_S)
    found.add(f"{label}: process start to the first get", "ms", get_ms)
    found.add(f"{label}: process start to the first committed put", "ms", put_ms)
    found.add(f"{label}: CPU of others meanwhile", "cores", use.others_s / took_s)


async def _answer_of(address: str, kind: str, key: bytes, must_hold: bool) -> None:
    await until_listening(address)
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(BareReplicator(address, ()))
        if kind == "get":
            found = await node.get_local(key)
            if must_hold and found is None:
                raise RuntimeError(f"{address} serves, but without {key!r}")
        else:
            await node.put(b"after-the-restart", b"value")


async def _a_follower(cluster: LocalCluster) -> NodeProcess:
    leader = await cluster.leader(SERVING_TIMEOUT_S)
    return next(process for node_id, process in sorted(cluster.nodes.items()) if node_id != leader)


async def _sizes(cluster: LocalCluster, node: NodeProcess, label: str, found: Collector) -> None:
    """Of the node that was just restarted: as it stands, and after every key was read once."""
    _add_memory(node.pid, f"{label}, after the restart", found)
    status = await cluster.status(node.plan.id, state_hash=True)
    _add_memory(node.pid, f"{label}, after reading all keys", found)
    found.add(f"{label}: data in use", "MiB", status.data_bytes / _MIB)
    blocks = sum(file.stat().st_blocks for file in node.plan.data_dir.iterdir())
    found.add(f"{label}: data directory on disk", "MiB", blocks * 512 / _MIB)


def _add_memory(pid: int, label: str, found: Collector) -> None:
    memory = memory_of(pid)
    found.add(f"{label}: VmRSS", "MiB", memory.resident / _MIB)
    found.add(f"{label}: RssAnon", "MiB", memory.anonymous / _MIB)
    found.add(f"{label}: RssFile", "MiB", memory.file / _MIB)
