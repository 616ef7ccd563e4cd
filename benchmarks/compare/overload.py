"""Ten times the calls that a node takes: does it live, keep what it acknowledged, refuse fast, and recover?"""

import asyncio
import contextlib
import json
import sys
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc.aio

import replicator
from benchmarks.arena import local_cluster, temporary_folder
from benchmarks.compare.overload_client import CALL_TIMEOUT_S, PREFIX, Order
from benchmarks.compare.rows import NO_OPPONENT, Row, at_most
from benchmarks.compare.scope import Scope
from benchmarks.compare.sides import Op, Shape, one_call
from benchmarks.compare.task import Figure, Stage, Task, own_clusters
from benchmarks.effort import Stopwatch
from benchmarks.figures import percentile
from benchmarks.load import LoadPlan, drive
from benchmarks.subjects import BareReplicator, SdkReplicator
from replicator.client import Client
from replicator.client.wire_errors import error_of
from replicator.dev import LocalCluster
from replicator.model.errors import Overloaded, ReplicatorError
from replicator.model.values import Consistency

PROCESSES: Final = 2
CLIENTS_A_PROCESS: Final = 5
PROBE_EVERY_S: Final = 0.05
FULL_SPEED: Final = 0.8  # of the rate before the overload
RECOVERY_LIMIT_S: Final = 60.0
RECOVERY_WINDOW_S: Final = 0.5
END_LIMIT_S: Final = 120.0  # beyond the time of the overload: the last calls' deadlines, and the report
VALUE_BYTES: Final = 100


@dataclass(slots=True)
class Probed:
    """By unary probes at the leader. refused_s: how long each typed refusal took."""

    refused_s: list[float] = field(default_factory=list)
    told: "Counter[str]" = field(default_factory=Counter)


def overload(scope: Scope) -> Stage[None]:
    """The callers are spread over several clients and processes."""
    callers = scope.overload_callers
    label = f"{callers:,} callers for {scope.overload_s:g} s"
    crashed = Row(f"{label}: nodes that ended", NO_OPPONENT, "nodes", at_most(0.0))
    lost = Row(f"{label}: acknowledged puts that are lost", NO_OPPONENT, "puts", at_most(0.0))
    untyped = Row(f"{label}: probes ended without a typed error", NO_OPPONENT, "probes", at_most(0.0))
    refusal = Row(f"{label}: p99 of a typed refusal", NO_OPPONENT, "ms", at_most(50.0))
    recovery = Row(f"{label}: back at {FULL_SPEED:.0%} of full speed after", NO_OPPONENT, "s", at_most(5.0))

    async def measure(_clusters: None, task: Task) -> None:
        with temporary_folder() as folder:
            async with local_cluster(folder) as cluster, replicator.connect(cluster.endpoints()) as client:
                shape = Shape(Op.PUT, scope.callers, scope.put_keys)
                plan = LoadPlan(scope.callers, scope.warm_up_s, scope.measure_s)
                full_per_s = (await drive(one_call(SdkReplicator(client, ()), shape), plan)).per_s
                task.say(f"  full speed is {full_per_s:,.0f} puts/s; {label}")
                leader = cluster.nodes[await cluster.leader()].plan.api
                probed, told, acked = await _overload(cluster, leader, callers, scope, folder)
                dead = [name for name, process in cluster.nodes.items() if not process.alive]
                task.book.add(crashed, len(dead))
                if dead:
                    raise RuntimeError(f"{', '.join(dead)} ended under the overload")
                task.book.add(recovery, await _until_full_speed(client, full_per_s, shape))
                task.book.add(lost, len(acked - await _held(client)))
        task.book.detail(lost, "puts acknowledged", len(acked))
        for reason, times_told in told.items():
            task.book.detail(lost, f"callers told {reason}", times_told)
        task.book.add(untyped, probed.told["untyped"])
        if probed.refused_s:
            task.book.add(refusal, percentile(sorted(probed.refused_s), 0.99) * 1000.0)
        else:
            task.book.omit(refusal, f"none of {probed.told.total()} probes was refused")

    rows = (crashed, lost, untyped, refusal, recovery)
    return Stage(own_clusters, (Figure("overload", "What does a cluster do under far too much?", rows, measure),))


async def _overload(
    cluster: LocalCluster, leader: str, callers: int, scope: Scope, folder: Path
) -> tuple[Probed, "Counter[str]", set[int]]:
    orders = [
        Order(
            cluster.endpoints(), CLIENTS_A_PROCESS, callers // PROCESSES, scope.overload_s, VALUE_BYTES,
            first, PROCESSES, str(folder / f"overload-{first}.json"),
        )
        for first in range(PROCESSES)
    ]  # fmt: skip
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.compare.overload_client", order.to_json(),
            stdin=asyncio.subprocess.DEVNULL,
        )
        for order in orders
    ]  # fmt: skip
    probed = Probed()
    async with BareReplicator(leader, ()) as probe:
        probing = asyncio.create_task(_probe(probe, probed))
        try:
            async with asyncio.timeout(scope.overload_s + END_LIMIT_S):
                codes = [await process.wait() for process in processes]
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    if any(codes):
        raise RuntimeError(f"processes of callers ended with {codes}")
    told, acked = Counter[str](), set[int]()
    for order in orders:
        _read_report(Path(order.report), told, acked)
    return probed, told, acked


def _read_report(report: Path, told: "Counter[str]", acked: set[int]) -> None:
    told.update(json.loads(report.read_text(encoding="utf-8")))
    numbers = array("Q")
    numbers.frombytes(report.with_suffix(".acked").read_bytes())
    acked.update(numbers)


async def _probe(subject: BareReplicator, probed: Probed) -> None:
    """One put after the other, each seen as a caller without the SDK sees it."""
    while True:
        watch = Stopwatch()
        try:
            await subject.put(b"probe", b"value")
            probed.told["OK"] += 1
        except grpc.aio.AioRpcError as error:
            seen = error_of(error, "probe", is_write=True)
            _note(seen, watch.elapsed_s(), probed)
        await asyncio.sleep(PROBE_EVERY_S)


def _note(seen: ReplicatorError, took_s: float, probed: Probed) -> None:
    """A deadline that ran out on the caller's side, or a broken connection, is no answer of a node."""
    is_from_node = seen.metadata.get("endpoint") != "probe"
    probed.told[seen.reason if is_from_node else "untyped"] += 1
    if isinstance(seen, Overloaded):
        probed.refused_s.append(took_s)


async def _until_full_speed(client: Client, full_per_s: float, shape: Shape) -> float:
    """Seconds from the end of the overload to the end of the first window at full speed. Raises RuntimeError."""
    put = one_call(SdkReplicator(client, ()), shape)
    committed = 0

    async def caller() -> None:
        nonlocal committed
        while True:
            with contextlib.suppress(ReplicatorError):  # refusals right after the overload only make it later
                await put(0)
                committed += 1

    watch = Stopwatch()
    callers = [asyncio.create_task(caller()) for _ in range(shape.callers)]
    try:
        while watch.elapsed_s() < RECOVERY_LIMIT_S:
            before, window = committed, Stopwatch()
            await asyncio.sleep(RECOVERY_WINDOW_S)
            if committed - before >= FULL_SPEED * full_per_s * window.elapsed_s():
                return watch.elapsed_s()
    finally:
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    raise RuntimeError(f"not back at {FULL_SPEED:.0%} of {full_per_s:,.0f} puts/s within {RECOVERY_LIMIT_S:g} s")


async def _held(client: Client) -> set[int]:
    """Numbers of all puts of the overload that the cluster holds."""
    return {
        int(pair.key[len(PREFIX) :])
        async for pair in client.scan(prefix=PREFIX, consistency=Consistency.LINEARIZABLE, timeout_s=CALL_TIMEOUT_S)
    }
