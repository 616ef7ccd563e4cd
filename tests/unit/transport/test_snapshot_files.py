"""Chunks read from a file, and chunks checked and written to one."""

import asyncio
import logging
import os
import threading
from pathlib import Path

import pytest

from replicator.transport.ports import SNAPSHOT_CHUNK_BYTES, FetchFailure, SnapshotUnavailable
from replicator.transport.snapshots import chunks as snapshot_files
from replicator.transport.snapshots.chunks import BadChunk, FileThread, SnapshotReader, SnapshotWriter
from replicator.v1 import peer_pb2
from tests.support.snapshots import a_chunk, some_bytes


def all_chunks(path: Path, offset: int) -> list[bytes]:
    reader = SnapshotReader(path, offset)
    reader.open()
    try:
        return list(iter(reader.next, None))
    finally:
        reader.close()
        reader.close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "got"


@pytest.mark.parametrize("offset", [0, 1, SNAPSHOT_CHUNK_BYTES, 700_000])
def test_what_is_read_from_an_offset_completes_what_is_held_up_to_it(tmp_path: Path, target: Path, offset: int) -> None:
    data = some_bytes(700_000)
    (tmp_path / "held").write_bytes(data)
    target.write_bytes(data[:offset])
    writer = SnapshotWriter(target, len(data))
    writer.open()
    assert writer.held_bytes == offset
    for message in all_chunks(tmp_path / "held", offset):
        assert len(peer_pb2.LinkMessage.FromString(message).chunk.data) <= SNAPSHOT_CHUNK_BYTES
        writer.take(message)
    assert writer.is_whole()
    writer.close()
    assert target.read_bytes() == data


@pytest.mark.parametrize(
    "message",
    [
        a_chunk(b"next", 3),
        a_chunk(b"next", 5),
        a_chunk(b"", 4),
        b"\xff\xff",
        b"",
        peer_pb2.SnapshotChunk(offset=4, data=b"next", checksum=1).SerializeToString(),
    ],
)
def test_a_chunk_that_is_not_the_next_one_or_not_as_sent_changes_nothing(target: Path, message: bytes) -> None:
    writer = SnapshotWriter(target, 100)
    writer.open()
    writer.take(a_chunk(b"here", 0))
    with pytest.raises(BadChunk):
        writer.take(message)
    assert writer.held_bytes == 4
    writer.take(a_chunk(b"next", 4))
    writer.close()
    assert target.read_bytes() == b"herenext"


def test_no_byte_beyond_the_announced_size_is_written(target: Path) -> None:
    writer = SnapshotWriter(target, 5)
    writer.open()
    writer.take(a_chunk(b"four", 0))
    with pytest.raises(SnapshotUnavailable, match="WRONG_SIZE: more than the 5 bytes announced"):
        writer.take(a_chunk(b"xy", 4))
    assert target.read_bytes() == b"four"
    writer.close()
    writer.discard()
    writer.discard()
    assert not target.exists()


def test_a_disk_that_takes_only_a_part_keeps_what_it_took(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count never runs ahead of the file, so a later try goes on in the right place."""
    real, room = os.pwrite, [3, 2]

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return real(fd, data[: room.pop(0)], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    writer = SnapshotWriter(target, 10)
    writer.open()
    with pytest.raises(SnapshotUnavailable, match="No space left") as error:
        writer.take(a_chunk(b"0123456789", 0))
    assert error.value.reason is FetchFailure.DISK
    assert writer.held_bytes == 5
    assert target.read_bytes() == b"01234"
    writer.close()


async def test_a_file_is_closed_after_the_call_that_its_cancelled_caller_left_behind() -> None:
    began, go_on = threading.Event(), threading.Event()
    story: list[str] = []

    def write() -> None:
        began.set()
        go_on.wait(20)
        story.append("written")

    async def use() -> None:
        async with FileThread("snapshot-test", lambda: story.append("closed")) as thread:
            await thread.begin(write)

    task = asyncio.create_task(use())
    assert await asyncio.to_thread(began.wait, 20)
    task.cancel()
    await asyncio.sleep(0)
    assert story == []
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert story == ["written", "closed"]


async def test_a_disk_that_hangs_does_not_hang_the_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(snapshot_files, "CLOSE_S", 0.05)
    answer = threading.Event()
    closed = threading.Event()
    async with FileThread("snapshot-test", closed.set) as thread:
        thread.begin(answer.wait, 20)
    assert caplog.record_tuples == [
        (
            snapshot_files.__name__,
            logging.ERROR,
            "snapshot-test: the disk does not answer; its thread ends when it does",
        )
    ]
    assert not closed.is_set()
    answer.set()
    assert await asyncio.to_thread(closed.wait, 20)


async def test_an_error_of_closing_reaches_the_caller() -> None:
    def close() -> None:
        raise SnapshotUnavailable(FetchFailure.DISK, "it failed late")

    with pytest.raises(SnapshotUnavailable, match="it failed late"):
        async with FileThread("snapshot-test", close):
            pass
