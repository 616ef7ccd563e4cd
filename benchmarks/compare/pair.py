"""Both systems up beside each other on loopback: ours with each of its clients, the peer with each of its."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import replicator
from benchmarks.arena import NO_ETCD, local_cluster, temporary_folder
from benchmarks.compare.go_client import NAME as ETCD_GO
from benchmarks.compare.go_client import GoMissing, GoSide, build
from benchmarks.compare.sides import Op, PythonSide, Reading, Roles, Shape, Side
from benchmarks.compare.task import Task
from benchmarks.etcd import EtcdCluster, etcd_cluster, etcd_version
from benchmarks.subjects import BareEtcd, BareReplicator, SdkReplicator, Subject, check_round_trip
from replicator.dev import LocalCluster

ETCD_PYTHON: Final = "etcd (Python)"


@dataclass(frozen=True, slots=True)
class Opponents:
    """sides: by the names that rows give. subjects: those that this process can call. missing: name -> why.

    notes: where an operation of theirs promises something else than ours.
    """

    sides: Mapping[str, Side]
    subjects: Mapping[str, Subject] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[Op, str] = field(default_factory=dict)


OpenOpponents: TypeAlias = Callable[[Path, Task], AbstractAsyncContextManager[Opponents]]


@dataclass(frozen=True, slots=True)
class UnarySide:
    """Our unary API without the SDK: grpc.aio at the node that leads when a sample begins."""

    cluster: LocalCluster
    name: str = "replicator, unary calls"

    async def measure(self, shape: Shape, warm_up_s: float, measure_s: float) -> Reading:
        """Each sample over a connection of its own."""
        leader = self.cluster.nodes[await self.cluster.leader()].plan.api
        async with BareReplicator(leader, ()) as subject:
            await subject.get_local(b"connect")
            side = PythonSide(self.name, subject, our_roles(self.cluster))
            return await side.measure(shape, warm_up_s, measure_s)


@dataclass(frozen=True, slots=True)
class Pair:
    """ours: one SDK client. unary: without it."""

    cluster: LocalCluster
    ours: PythonSide
    unary: UnarySide
    opponents: Opponents


def our_roles(cluster: LocalCluster) -> Roles:
    """Who leads is asked for, since leadership may move between samples."""

    async def roles() -> Mapping[str, tuple[int, ...]]:
        leader = await cluster.leader()
        followers = tuple(process.pid for name, process in cluster.nodes.items() if name != leader)
        return {"leader": (cluster.nodes[leader].pid,), "followers": followers}

    return roles


def etcd_roles(cluster: EtcdCluster) -> Roles:
    """As `our_roles`."""

    async def roles() -> Mapping[str, tuple[int, ...]]:
        leader = cluster.member_at(await cluster.leader_now()).pid
        return {"leader": (leader,), "followers": tuple(pid for pid in cluster.pids if pid != leader)}

    return roles


@asynccontextmanager
async def etcd_opponents(folder: Path, task: Task) -> AsyncIterator[Opponents]:
    """Etcd (Python): this process, grpc.aio, unary calls. etcd (Go): its own client."""
    if etcd_version() is None:
        yield Opponents({}, {}, {ETCD_PYTHON: NO_ETCD, ETCD_GO: NO_ETCD})
        return
    missing: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(etcd_cluster(folder))
        subject = await stack.enter_async_context(BareEtcd(cluster.leader, cluster.pids))
        await check_round_trip(subject)
        sides: dict[str, Side] = {ETCD_PYTHON: PythonSide(ETCD_PYTHON, subject, etcd_roles(cluster))}
        try:
            sides[ETCD_GO] = GoSide(await build(), cluster.leader_now, etcd_roles(cluster))
        except GoMissing as error:
            missing[ETCD_GO] = str(error)
            task.say(f"{ETCD_GO} is not measured: {error}")
        yield Opponents(sides, {ETCD_PYTHON: subject}, missing)


def pair_with(open_opponents: OpenOpponents) -> Callable[[Task], AbstractAsyncContextManager[Pair]]:
    """How a stage of both systems is opened."""

    @asynccontextmanager
    async def pair(task: Task) -> AsyncIterator[Pair]:
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(temporary_folder())
            cluster = await stack.enter_async_context(local_cluster(folder / "replicator"))
            client = await stack.enter_async_context(replicator.connect(cluster.endpoints()))
            sdk = SdkReplicator(client, ())
            await check_round_trip(sdk)
            opponents = await stack.enter_async_context(open_opponents(folder / "peer", task))
            yield Pair(cluster, PythonSide("replicator SDK", sdk, our_roles(cluster)), UnarySide(cluster), opponents)

    return pair
