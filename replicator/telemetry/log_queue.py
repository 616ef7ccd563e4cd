"""Log lines on their way to stderr, so that a reader that stalls never stops the node.

A write to a full pipe blocks until somebody reads it. So a thread writes, and everybody else only queues: bounded, and
beyond the bound lines are dropped and counted. Once the reader reads again, a line says how many are missing. So too if
stderr is a file, and its disk is full for a while.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from replicator.model.full_disk import FULL_ERRNOS

QUEUED_BYTES_MAX: Final = 4 << 20
DRAIN_S_MAX: Final = 1.0  # at the end of the process, for lines that still wait

Write = Callable[[bytes], None]


def write_to_stderr(data: bytes) -> None:
    """All of it, past Python's own buffers: their locks would hang the end of the process behind a stalled reader."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(2, rest) :]


class LogQueue(logging.Handler):
    """Invariant: at most QUEUED_BYTES_MAX wait, beside the line being written. `emit` never blocks or raises."""

    def __init__(self, write: Write, queued_bytes_max: int = QUEUED_BYTES_MAX) -> None:
        super().__init__()
        self._write = write
        self._queued_bytes_max = queued_bytes_max
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._queued_bytes = 0
        self._unsaid_drops = 0
        self._is_writing = False
        self._is_broken = False  # stderr is closed
        self.dropped_lines = 0
        threading.Thread(target=self._run, name="log-writer", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Formats here, since what a record refers to may change; queues, or drops."""
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        except Exception:  # noqa: BLE001, RUF100  # as logging itself: a bad format string must not end a call
            line = f"a log record of {record.name} could not be formatted: {record.msg!r}\n".encode(errors="replace")
        with self._changed:
            if self._is_broken or self._queued_bytes + len(line) > self._queued_bytes_max:
                self.dropped_lines += 1
                self._unsaid_drops += 1
                return
            self._lines.append(line)
            self._queued_bytes += len(line)
            assert self._queued_bytes <= self._queued_bytes_max, "a queue keeps its bound"
            self._changed.notify_all()

    def drain(self, timeout_s: float = DRAIN_S_MAX) -> bool:
        """Waits until all lines are written; False if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._lines or self._is_writing), timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                line = self._lines.popleft()
                self._queued_bytes -= len(line)
                self._is_writing = True
            try:
                self._write_or_drop(line)
            except OSError:
                self._break()
                return

    def _write_or_drop(self, line: bytes) -> None:
        """Raises OSError if stderr is closed."""
        try:
            self._write(line)
        except OSError as error:
            if error.errno not in FULL_ERRNOS:
                raise
            with self._changed:
                self.dropped_lines += 1
                self._unsaid_drops += 1
        else:
            self._say_drops()

    def _say_drops(self) -> None:
        """As soon as the reader is back, past the queue, which is full."""
        with self._changed:
            dropped = self._unsaid_drops
        if not dropped:
            return
        try:
            self._write(f"{self.format(_drop_record(dropped))}\n".encode())
        except OSError as error:
            if error.errno not in FULL_ERRNOS:
                raise
        else:
            with self._changed:
                self._unsaid_drops -= dropped

    def _break(self) -> None:
        with self._changed:
            self._is_broken, self._is_writing = True, False
            self.dropped_lines += 1 + len(self._lines)
            self._lines.clear()
            self._queued_bytes = 0
            self._changed.notify_all()


def _drop_record(dropped: int) -> logging.LogRecord:
    text = "%d log lines were dropped: nobody read stderr, or its disk was full. See what collects the logs"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (dropped,), None)
