"""One server process of a system that we compare with: started, killed, started again, always stopped."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

STOP_TIMEOUT_S: Final = 10.0
_LOG_TAIL_CHARACTERS: Final = 2000


class MemberProcess:
    """name: in messages. log: where its output goes; a restart appends. environment: beside ours."""

    def __init__(
        self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._arguments = list(arguments)
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process, or of the last one; 0 before the first start."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Starts the process and returns at once."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is for the benchmark, which then stops its servers
                env=self._environment,
            )

    def check_alive(self) -> None:
        """Raises RuntimeError with the end of the log if the process has ended."""
        if self._process is None or self._process.poll() is not None:
            code = None if self._process is None else self._process.returncode
            tail = self._log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:]
            raise RuntimeError(f"{self.name} ended with code {code}:\n{tail}")

    def kill9(self) -> None:
        """SIGKILL; returns once the process is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(STOP_TIMEOUT_S)


@contextlib.contextmanager
def running(members: Sequence[MemberProcess]) -> Iterator[None]:
    """Starts all; none is left when the block ends, however it ends."""
    try:
        for member in members:
            member.start()
        yield
    finally:
        _stop(members)


def _stop(members: Sequence[MemberProcess]) -> None:
    processes = [member._process for member in members if member._process is not None]
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
