"""Real node processes for integration tests: planned like `replicator dev` plans them, started singly or together."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from replicator.dev import ClusterPlan, NodePlan, plan_cluster

WAIT_S = 30.0
START_S = 60.0


@dataclass(frozen=True)
class Ended:
    """How a process that was expected to end did."""

    code: int
    stdout: str
    stderr: str


def three_regions(directory: Path) -> ClusterPlan:
    """Plan and files of a cluster of three; nothing runs yet."""
    plan = plan_cluster(directory, ["eu", "us", "ap"])
    plan.write()
    return plan


def one_node(directory: Path) -> NodePlan:
    """Plan and files of a cluster of one, which needs nobody else to serve."""
    plan = plan_cluster(directory, ["eu"])
    plan.write()
    return plan.nodes[0]


def rewrite(node: NodePlan, old: str, new: str) -> None:
    """Changes the node's configuration file."""
    text = node.config_file.read_text()
    assert old in text, f"{old!r} is not in the file"
    node.config_file.write_text(text.replace(old, new, 1))


def run_cli(*arguments: str, environment: Mapping[str, str] | None = None, stdin: bytes = b"") -> Ended:
    """One `replicator` command to its end, which must come."""
    done = subprocess.run(
        [sys.executable, "-m", "replicator", *arguments],
        input=stdin,
        capture_output=True,
        timeout=WAIT_S,
        env=environment,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def start_serve(
    config_file: Path, log_file: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """`replicator serve` in the background, its stderr in `log_file`."""
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "replicator", "serve", "--config", str(config_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=environment,
        )


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """SIGSTOP: links stay up, nobody answers."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def until(condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Waits for a condition that needs no await."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.02)


async def until_exit(process: subprocess.Popen[bytes], timeout_s: float = WAIT_S) -> int:
    """The exit code, which must come in time."""
    await until(lambda: process.poll() is not None, f"the end of process {process.pid}", timeout_s)
    return int(process.returncode)


async def http_get(address: str, path: str) -> tuple[int, str]:
    """Status and body; status 0 if nobody listens."""
    host, _, port = address.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return 0, ""
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
        answer = (await asyncio.wait_for(reader.read(), timeout=10)).decode()
    finally:
        writer.close()
    if not answer:
        return 0, ""
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


async def until_ready(node: NodePlan, timeout_s: float = START_S) -> None:
    """Waits until /readyz says 200."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        status, body = await http_get(node.admin, "/readyz")
        if status == 200:
            return
        assert time.monotonic() < deadline_s, f"{node.id} is not ready: {status} {body}\n{tail_of(node.log_file)}"
        await asyncio.sleep(0.05)


def tail_of(log_file: Path) -> str:
    """The end of a log, for messages."""
    return log_file.read_text(errors="replace")[-4000:] if log_file.exists() else "(no log)"
