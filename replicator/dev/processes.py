"""One node as an operating system process: started, watched, killed, started again.

Nothing here restarts a node by itself: a node that dies stays dead, so that its state can be examined.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

from replicator.dev.cluster_plan import NodePlan
from replicator.model.errors import StartupError

POLL_S: Final = 0.02
KILL_WAIT_S: Final = 5.0  # a killed process is gone within milliseconds, unless it hangs in the kernel
DRAIN_WAIT_S: Final = 12.0  # a node promises to be gone 10 s after SIGTERM
LOG_TAIL_LINES: Final = 15
_TIE_FLAG: Final = "--until-stdin-ends"  # a launcher that is killed leaves no nodes behind


class NodeProcess:
    """A node's process. Its output goes to the node's log file, and a restart appends to it.

    flags: further arguments of `replicator serve`, the same at every start.
    """

    def __init__(self, plan: NodePlan, flags: Sequence[str] = ()) -> None:
        self.plan = plan
        self._flags = tuple(flags)
        self._process: subprocess.Popen[bytes] | None = None
        self._tie_fd: int | None = None  # the node ends when this is closed, as the kernel does when we die
        self.starts = 0

    @property
    def pid(self) -> int:
        """Of the running process, or of the last one. 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Starts the process and returns at once; `LocalCluster` knows when the node serves."""
        if self.alive:
            raise RuntimeError(f"{self.plan.id} already runs as {self.pid}")
        self._untie()
        config_file = str(self.plan.config_file)
        its_end_fd, self._tie_fd = os.pipe()
        try:
            with self.plan.log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "replicator", "serve", "--config", config_file, _TIE_FLAG, *self._flags],
                    stdin=its_end_fd,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C at the terminal is for the launcher, which then stops the nodes
                )
        finally:
            os.close(its_end_fd)
        self.starts += 1

    async def kill9(self) -> None:
        """SIGKILL: the node gets no chance to say or save anything. Returns once it is gone."""
        self._signal(signal.SIGKILL)
        await self.until_dead(KILL_WAIT_S)

    async def terminate(self, timeout_s: float = DRAIN_WAIT_S) -> int:
        """SIGTERM: the node drains. Its exit code; a node that does not end in time is killed (code -9)."""
        self._signal(signal.SIGTERM)
        try:
            return await self.until_dead(timeout_s)
        except TimeoutError:
            await self.kill9()
            return -signal.SIGKILL

    async def until_dead(self, timeout_s: float | None = None) -> int:
        """Waits for the end of the process, whatever causes it. Its exit code. Raises TimeoutError."""
        if self._process is None:
            raise RuntimeError(f"{self.plan.id} was never started")
        async with asyncio.timeout(timeout_s):
            while (code := self._process.poll()) is None:  # noqa: ASYNC110  # nothing tells; child watchers need one loop
                await asyncio.sleep(POLL_S)
        self._untie()
        return code

    def kill_now(self) -> None:
        """As `kill9`, without a loop: for the way out of an interrupted program."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(KILL_WAIT_S)
        self._untie()

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The end of the node's log."""
        try:
            with self.plan.log_file.open(encoding="utf-8", errors="replace") as log:
                return "".join(deque(log, maxlen=lines)).strip()
        except FileNotFoundError:
            return ""

    def check_alive(self) -> None:
        """Raises StartupError with the end of the log if the process has ended."""
        if not self.alive:
            log = self.log_tail() or "(it logged nothing)"
            raise StartupError(f"node {self.plan.id} ended with code {self.exit_code}; the end of its log:\n{log}")

    def _untie(self) -> None:
        fd, self._tie_fd = self._tie_fd, None
        if fd is not None:
            os.close(fd)

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:  # polled just now and not reaped since, so the pid is still ours
            os.kill(self.pid, number)
