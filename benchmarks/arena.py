"""A cluster of ours on loopback, and the one of etcd beside it, in a folder that goes when they do."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import replicator
from benchmarks.effort import Say
from benchmarks.etcd import etcd_cluster, etcd_version
from benchmarks.subjects import BareEtcd, BareReplicator, SdkReplicator, Subject, check_round_trip
from replicator.dev import LocalCluster, plan_cluster
from replicator.model.ids import NodeId

REGIONS: Final = ("eu", "us", "ap")
PROFILE: Final = "lan"
NO_ETCD: Final = "etcd is not installed (Debian: etcd-server, etcd-client): nothing to compare with"


@dataclass(frozen=True, slots=True)
class Arena:
    """subjects: ours first. etcd: its version, None if it is not there."""

    subjects: tuple[Subject, ...]
    etcd: str | None


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Where data lives; on a real disk if the system's folder for temporary files is."""
    with tempfile.TemporaryDirectory(prefix="replicator-bench-") as name:
        yield Path(name)


@contextlib.asynccontextmanager
async def local_cluster(folder: Path) -> AsyncIterator[LocalCluster]:
    """Three nodes, one a region, links at loopback speed."""
    async with LocalCluster(plan_cluster(folder, REGIONS, profile=PROFILE)) as cluster:
        yield cluster


def leader_address(cluster: LocalCluster) -> str:
    """As of the moment when all nodes served."""
    return cluster.nodes[NodeId(cluster.describe()["leader"])].plan.api


@contextlib.asynccontextmanager
async def arena(say: Say) -> AsyncIterator[Arena]:
    """Both clusters up, each subject connected to its leader and shown to store what it is given."""
    version = etcd_version()
    if version is None:
        say(NO_ETCD)
    with contextlib.ExitStack() as folders:
        folder = folders.enter_context(temporary_folder())
        async with contextlib.AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(local_cluster(folder / "replicator"))
            pids = tuple(process.pid for process in cluster.nodes.values())
            client = await stack.enter_async_context(replicator.connect(cluster.endpoints()))
            subjects: list[Subject] = [
                await stack.enter_async_context(BareReplicator(leader_address(cluster), pids)),
                SdkReplicator(client, pids),
            ]
            if version is not None:
                (folder / "etcd").mkdir()
                etcd = await stack.enter_async_context(etcd_cluster(folder / "etcd"))
                subjects.append(await stack.enter_async_context(BareEtcd(etcd.leader, etcd.pids)))
            for subject in subjects:
                await check_round_trip(subject)
            yield Arena(tuple(subjects), version)
