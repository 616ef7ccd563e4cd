"""etcd driven by its own Go client: `etcd_load.go`, compiled once into a cache folder, one process a sample.

Compiled from Debian's packages, without a network. Where they are missing, the figures against this opponent are not
measured, and the table says what to install.
"""

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.compare.sides import Reading, Roles, Shape
from benchmarks.proc import CpuMeter

NAME: Final = "etcd (Go)"
_SOURCE: Final = Path(__file__).with_name("etcd_load.go")
_DEBIAN_PACKAGES: Final = Path("/usr/share/gocode")
_INSTALL: Final = "install Debian's golang-go and golang-etcd-server-dev"
_BUILD_TIMEOUT_S: Final = 300.0
_ANSWER_TIMEOUT_S: Final = 60.0  # beyond the time that was asked for


class GoMissing(Exception):
    """The client cannot be built here; the message says what to install."""


async def build() -> Path:
    """The compiled client, from the cache if it is there. Raises GoMissing, RuntimeError if compiling fails."""
    source = _SOURCE.read_bytes()
    program = _cache_folder() / f"etcd-load-{hashlib.sha256(source).hexdigest()[:16]}"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise GoMissing(f"no Go compiler: {_INSTALL}")
    if not (_DEBIAN_PACKAGES / "src/go.etcd.io/etcd/clientv3").is_dir():
        raise GoMissing(f"no sources of clientv3 below {_DEBIAN_PACKAGES}: {_INSTALL}")
    program.parent.mkdir(parents=True, exist_ok=True)
    unfinished = program.with_suffix(f".{os.getpid()}")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(_DEBIAN_PACKAGES), "GOFLAGS": ""}
    process = await asyncio.create_subprocess_exec(
        "go", "build", "-o", str(unfinished), str(_SOURCE),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )  # fmt: skip
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _BUILD_TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"compiling {_SOURCE.name} failed ({_INSTALL}): {said.decode(errors='replace')[-500:]}")
    unfinished.rename(program)
    return program


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "replicator-benchmarks"


@dataclass(frozen=True, slots=True)
class GoSide:
    """leader: asked for before each sample, HOST:PORT. roles: of the servers."""

    program: Path
    leader: Callable[[], Awaitable[str]]
    roles: Roles
    name: str = NAME

    async def measure(self, shape: Shape, warm_up_s: float, measure_s: float) -> Reading:
        """Raises RuntimeError with what the client said if a call fails."""
        roles = await self.roles()
        process = await asyncio.create_subprocess_exec(
            str(self.program),
            f"-endpoint={await self.leader()}",
            f"-op={shape.op.value}",
            f"-callers={shape.callers}",
            f"-value-bytes={shape.value_bytes}",
            f"-keys={shape.keys}",
            f"-warm-up={warm_up_s}s",
            f"-measure={measure_s}s",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(warm_up_s + measure_s + _ANSWER_TIMEOUT_S):
                await _until_said(process, b"measuring")
                meter = CpuMeter([pid for pids in roles.values() for pid in pids])
                await _until_said(process, b"measured")
                used_s = meter.read().by_server_s
                answer, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise RuntimeError(f"{_SOURCE.name} ended with code {process.returncode} while it measured")
        found = json.loads(answer)
        cpu_us = {role: sum(used_s[pid] for pid in pids) / found["calls"] * 1e6 for role, pids in roles.items()}
        return Reading(found["per_s"], found["p50_ms"], found["p99_ms"], {"client": found["cpu_us"], **cpu_us})


async def _until_said(process: asyncio.subprocess.Process, word: bytes) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    line = await process.stdout.readline()
    if line.strip() != word:
        said = (await process.stderr.read()).decode(errors="replace")
        raise RuntimeError(f"{_SOURCE.name} ended before it was {word.decode()}: {said[-300:]}")
