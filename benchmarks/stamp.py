"""Where and with what a result was measured: without it a figure cannot be compared to another."""

import os
import platform
import statistics
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

_LIBRARIES: Final = ("grpcio", "protobuf", "lmdb", "pysyncobj", "uvloop", "opentelemetry-sdk")
_ROOT: Final = Path(__file__).resolve().parents[1]
_FSYNC_PROBES: Final = 100
_FSYNC_PROBE_BYTES: Final = 4096


def stamp() -> dict[str, Any]:
    """Taken when a run begins."""
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": {
            "cores": os.cpu_count(),
            "cores_usable": len(os.sched_getaffinity(0)),
            "processor": _processor(),
            "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
            "kernel": platform.release(),
            "fsync_ms_median": fsync_ms(),
            "load_average_1_min": os.getloadavg()[0],
        },
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def commit() -> str:
    """Hash of the commit that is checked out, `-dirty` if files of the product differ from it; or `unknown`."""
    try:
        revision = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "replicator", "benchmarks")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{revision}-dirty" if changed else revision


def fsync_ms() -> float:
    """Median time to make one small write durable in the folder where the benchmarks keep their data."""
    times_s = []
    with tempfile.TemporaryFile() as file:
        for _ in range(_FSYNC_PROBES):
            os.pwrite(file.fileno(), bytes(_FSYNC_PROBE_BYTES), 0)
            started_s = time.perf_counter()
            os.fdatasync(file.fileno())
            times_s.append(time.perf_counter() - started_s)
    return round(statistics.median(times_s) * 1000.0, 3)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, check=True, text=True)
    return done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
