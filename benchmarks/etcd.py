"""Three etcd processes for comparison, durable as they are by default.

Needs `etcd` and `etcdctl` on the PATH (Debian: etcd-server, etcd-client); without them there is nothing to compare
with, and the benchmarks say so.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.member_process import MemberProcess, running
from replicator.dev import free_ports

NODES: Final = 3
START_TIMEOUT_S: Final = 30.0
ASK_EVERY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class EtcdCluster:
    """endpoints: HOST:PORT of every member, in the order of `members`. leader: the one that led at the start."""

    endpoints: tuple[str, ...]
    leader: str
    members: tuple[MemberProcess, ...]

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(member.pid for member in self.members)

    async def leader_now(self) -> str:
        """Waits until all members name one leader. Raises RuntimeError."""
        return await _leader(self.endpoints, self.members)

    def member_at(self, endpoint: str) -> MemberProcess:
        """The process behind one of `endpoints`."""
        return self.members[self.endpoints.index(endpoint)]


def etcd_version() -> str | None:
    """None if etcd is not installed."""
    if shutil.which("etcd") is None or shutil.which("etcdctl") is None:
        return None
    done = subprocess.run(["etcd", "--version"], capture_output=True, check=True, text=True)
    return done.stdout.splitlines()[0].rpartition(" ")[2]


@contextlib.asynccontextmanager
async def etcd_cluster(folder: Path, more_arguments: Sequence[str] = ()) -> AsyncIterator[EtcdCluster]:
    """A cluster of three on loopback, its data below `folder`. No member is left when the block ends.

    more_arguments: of every member; without them, etcd's defaults hold.
    """
    ports = free_ports(2 * NODES)
    clients = tuple(f"127.0.0.1:{port}" for port in ports[:NODES])
    members = tuple(_member(folder, number, ports, more_arguments) for number in range(NODES))
    with running(members):
        yield EtcdCluster(clients, await _leader(clients, members), members)


def _member(folder: Path, number: int, ports: list[int], more_arguments: Sequence[str]) -> MemberProcess:
    peers = [f"http://127.0.0.1:{port}" for port in ports[NODES:]]
    client = f"http://127.0.0.1:{ports[number]}"
    own = folder / f"etcd-{number}"
    own.mkdir(parents=True)
    arguments = [
        "etcd",
        f"--name=etcd-{number}",
        f"--data-dir={own / 'data'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peers[number]}",
        f"--initial-advertise-peer-urls={peers[number]}",
        f"--initial-cluster={','.join(f'etcd-{i}={peer}' for i, peer in enumerate(peers))}",
        "--logger=zap",
        "--log-level=warn",
        *more_arguments,
    ]
    return MemberProcess(f"etcd-{number}", arguments, own / "log")


async def _leader(clients: tuple[str, ...], members: Sequence[MemberProcess]) -> str:
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                for member in members:
                    member.check_alive()
                leader = await asyncio.to_thread(_agreed_leader, clients)
                if leader is not None:
                    return leader
                await asyncio.sleep(ASK_EVERY_S)
    except TimeoutError:
        raise RuntimeError(f"etcd had no leader within {START_TIMEOUT_S:g} s") from None


def _agreed_leader(clients: tuple[str, ...]) -> str | None:
    done = subprocess.run(
        ["etcdctl", f"--endpoints={','.join(clients)}", "endpoint", "status", "-w", "json"],
        capture_output=True,
        check=False,
        env={**os.environ, "ETCDCTL_API": "3"},
        timeout=START_TIMEOUT_S,
    )
    if done.returncode != 0:
        return None
    answers = json.loads(done.stdout)
    leaders = {answer["Status"].get("leader", 0) for answer in answers}
    if len(answers) != NODES or len(leaders) != 1 or 0 in leaders:
        return None
    (leader,) = leaders
    endpoint: str = next(a["Endpoint"] for a in answers if a["Status"]["header"]["member_id"] == leader)
    return endpoint
