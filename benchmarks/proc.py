"""What the kernel says of processes and of the machine: CPU time, memory. Linux only; reads /proc, changes nothing.

The machine may be shared. So every measurement says how much CPU others had meanwhile: that, not the load average,
tells a quiet round from a disturbed one.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_KIB: Final = 1024
_IDLE, _IOWAIT, _GUEST = 3, 4, 8  # columns of the cpu line; guest time is in user time already


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, bytes. anonymous: its own; file: pages of mapped files, which the kernel takes back at will."""

    resident: int
    anonymous: int
    file: int


def memory_of(pid: int) -> Memory:
    """Resident memory now."""
    fields = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    )
    resident, anonymous, file = (int(fields[name].split()[0]) * _KIB for name in ("VmRSS", "RssAnon", "RssFile"))
    return Memory(resident, anonymous, file)


def cpu_s_of(pids: Iterable[int]) -> float:
    """CPU seconds that these processes have used so far, user and kernel; those that are gone count nothing."""
    ticks = 0
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        after_name = stat.rpartition(")")[2].split()
        ticks += int(after_name[11]) + int(after_name[12])
    return ticks / _TICKS_PER_S


def machine_busy_s() -> float:
    """CPU seconds that the whole machine has been busy since it started."""
    columns = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    return sum(int(ticks) for i, ticks in enumerate(columns[:_GUEST]) if i not in (_IDLE, _IOWAIT)) / _TICKS_PER_S


@dataclass(frozen=True, slots=True)
class CpuUse:
    """CPU seconds of one interval: of the measuring process, of the servers under test, of everything else.

    by_server_s: pid -> its share of servers_s.
    """

    client_s: float
    servers_s: float
    others_s: float
    by_server_s: Mapping[int, float] = field(default_factory=dict)


class CpuMeter:
    """Measures from its making to `read`. Resolution: 10 ms a process."""

    def __init__(self, servers: Iterable[int]) -> None:
        self._servers = tuple(servers)
        self._before = self._now()

    def read(self) -> CpuUse:
        client_s, busy_s, *servers_s = (now - then for now, then in zip(self._now(), self._before, strict=True))
        all_servers_s = sum(servers_s)
        by_server_s = dict(zip(self._servers, servers_s, strict=True))
        return CpuUse(client_s, all_servers_s, max(0.0, busy_s - client_s - all_servers_s), by_server_s)

    def _now(self) -> tuple[float, ...]:
        return cpu_s_of([os.getpid()]), machine_busy_s(), *(cpu_s_of([pid]) for pid in self._servers)
