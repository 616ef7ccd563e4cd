"""Log lines while nobody reads them: nothing waits for the reader, memory is bounded, and the gap is told."""

import errno
import logging
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.telemetry import LogQueue

WAIT_S = 30.0
LINE_BYTES = 100


class Reader:
    """Of stderr: stalls until it is told to go on."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stalled, self.goes_on = threading.Event(), threading.Event()

    def take(self, data: bytes) -> None:
        self.stalled.set()
        assert self.goes_on.wait(WAIT_S)
        self.lines += data.decode().splitlines()


def log_into(queue: LogQueue, text: str) -> None:
    queue.handle(logging.LogRecord("room", logging.INFO, __file__, 1, "%s", (text,), None))


def test_a_stalled_reader_stops_nobody_and_is_told_what_it_missed() -> None:
    reader = Reader()
    queue = LogQueue(reader.take, queued_bytes_max=10 * LINE_BYTES)
    log_into(queue, "first")
    assert reader.stalled.wait(WAIT_S)  # the writer holds that line; the queue is empty

    for number in range(25):
        log_into(queue, f"{number:02d}".ljust(LINE_BYTES - 1, "."))  # would hang here, if it waited
    assert queue.dropped_lines == 15

    reader.goes_on.set()
    assert queue.drain(WAIT_S)
    assert [line[:2] for line in reader.lines if line.endswith("..")] == [f"{number:02d}" for number in range(10)]
    assert sum("15 log lines were dropped" in line for line in reader.lines) == 1
    log_into(queue, "last")
    assert queue.drain(WAIT_S)
    assert reader.lines[-1] == "last"
    assert queue.dropped_lines == 15


def test_draining_gives_up_on_a_reader_that_stays_away() -> None:
    reader = Reader()
    queue = LogQueue(reader.take)
    log_into(queue, "nobody reads this")

    assert not queue.drain(0.01)

    reader.goes_on.set()
    assert queue.drain(WAIT_S)


def test_a_closed_stderr_counts_lines_and_raises_nothing() -> None:
    def closed(_: bytes) -> None:
        raise BrokenPipeError

    queue = LogQueue(closed)
    for number in range(3):
        log_into(queue, str(number))

    assert queue.drain(WAIT_S)
    assert queue.dropped_lines == 3


class FullDisk:
    """Under a file that stderr was sent to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.is_full = True

    def take(self, data: bytes) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.lines += data.decode().splitlines()


def test_a_log_whose_disk_was_full_goes_on_and_says_what_is_missing() -> None:
    disk = FullDisk()
    queue = LogQueue(disk.take)
    for number in range(3):
        log_into(queue, str(number))
    assert queue.drain(WAIT_S)
    assert (disk.lines, queue.dropped_lines) == ([], 3)

    disk.is_full = False
    log_into(queue, "room again")
    log_into(queue, "last")
    assert queue.drain(WAIT_S)
    assert (disk.lines[0], disk.lines[2]) == ("room again", "last")
    assert disk.lines[1].startswith("3 log lines were dropped: nobody read stderr, or its disk was full")
    assert queue.dropped_lines == 3


def test_a_disk_that_is_full_again_before_the_gap_is_said_forgets_nothing() -> None:
    disk, written = FullDisk(), list[bytes]()

    def room_for_two_lines(data: bytes) -> None:
        disk.is_full = len(written) == 2 or (not written and data == b"lost\n")
        written.append(data)
        disk.take(data)

    queue = LogQueue(room_for_two_lines)
    for text in ("lost", "first", "last"):
        log_into(queue, text)
    assert queue.drain(WAIT_S)
    assert disk.lines[:2] == ["first", "last"]
    assert disk.lines[2].startswith("1 log lines were dropped")


@pytest.mark.parametrize("arguments", [("two", "few"), ()])
def test_a_record_that_cannot_be_formatted_is_said_and_raises_nothing(arguments: tuple[str, ...]) -> None:
    reader = Reader()
    reader.goes_on.set()
    queue = LogQueue(reader.take)

    queue.handle(logging.LogRecord("room", logging.INFO, __file__, 1, "%s %s %d", arguments or (1,), None))

    assert queue.drain(WAIT_S)
    (line,) = reader.lines
    assert "room could not be formatted" in line


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(0, 300), max_size=40), bound=st.integers(0, 2000))
def test_every_line_is_written_or_counted(lengths: list[int], bound: int) -> None:
    reader = Reader()
    reader.goes_on.set()
    queue = LogQueue(reader.take, queued_bytes_max=bound)
    for length in lengths:
        log_into(queue, "x" * length)
    assert queue.drain(WAIT_S)

    written = [line for line in reader.lines if "dropped" not in line]
    assert len(written) + queue.dropped_lines == len(lengths)
