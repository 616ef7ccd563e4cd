"""Three etcd processes with default settings, for comparison: started, told apart, certainly stopped.

Needs `etcd` and `etcdctl` on the PATH (Debian: etcd-server, etcd-client); without them there is nothing to compare
with, and the benchmarks say so.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from replicator.dev import free_ports

NODES: Final = 3
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
ASK_EVERY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class EtcdCluster:
    """endpoints: HOST:PORT of every member. leader: the one that leads."""

    endpoints: tuple[str, ...]
    leader: str
    pids: tuple[int, ...]


def etcd_version() -> str | None:
    """None if etcd is not installed."""
    if shutil.which("etcd") is None or shutil.which("etcdctl") is None:
        return None
    done = subprocess.run(["etcd", "--version"], capture_output=True, check=True, text=True)
    return done.stdout.splitlines()[0].rpartition(" ")[2]


@contextlib.asynccontextmanager
async def etcd_cluster(folder: Path) -> AsyncIterator[EtcdCluster]:
    """A cluster of three on loopback, its data below `folder`. No member is left when the block ends."""
    ports = free_ports(2 * NODES)
    clients = tuple(f"127.0.0.1:{port}" for port in ports[:NODES])
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(NODES):
            processes.append(_start(folder, number, ports))  # noqa: PERF401  # one by one: a failure stops those before it
        leader = await _leader(clients, processes, folder)
        yield EtcdCluster(clients, leader, tuple(process.pid for process in processes))
    finally:
        await asyncio.to_thread(_stop, processes)


def _start(folder: Path, number: int, ports: list[int]) -> subprocess.Popen[bytes]:
    peers = [f"http://127.0.0.1:{port}" for port in ports[NODES:]]
    client = f"http://127.0.0.1:{ports[number]}"
    own = folder / f"etcd-{number}"
    own.mkdir()
    arguments = [
        f"--name=etcd-{number}",
        f"--data-dir={own / 'data'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peers[number]}",
        f"--initial-advertise-peer-urls={peers[number]}",
        f"--initial-cluster={','.join(f'etcd-{i}={peer}' for i, peer in enumerate(peers))}",
        "--logger=zap",
        "--log-level=warn",
    ]
    with (own / "log").open("wb") as log:
        return subprocess.Popen(
            ["etcd", *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


async def _leader(clients: tuple[str, ...], processes: list[subprocess.Popen[bytes]], folder: Path) -> str:
    """Waits until all members name one leader. Raises RuntimeError."""
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                for number, process in enumerate(processes):
                    if process.poll() is not None:
                        log = (folder / f"etcd-{number}" / "log").read_text(errors="replace")
                        raise RuntimeError(f"etcd-{number} ended with code {process.returncode}:\n{log[-2000:]}")
                leader = await asyncio.to_thread(_agreed_leader, clients)
                if leader is not None:
                    return leader
                await asyncio.sleep(ASK_EVERY_S)
    except TimeoutError:
        raise RuntimeError(f"etcd had no leader within {START_TIMEOUT_S:g} s; see {folder}") from None


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


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
