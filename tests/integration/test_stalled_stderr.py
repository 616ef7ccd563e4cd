"""A real process whose stderr is a pipe that nobody reads: it answers, it drains, it ends."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from replicator.client import connect
from tests.support.real_nodes import http_get, one_node, until_exit, until_ready

pytestmark = pytest.mark.process


async def test_a_node_whose_log_nobody_reads_answers_and_drains(tmp_path: Path) -> None:
    node = one_node(tmp_path)
    read_end, write_end = os.pipe()
    fill(write_end)  # so that the first line of the node already has no room
    process = started(node.config_file, write_end)
    try:
        await until_ready(node, 90.0)
        async with connect([node.api]) as client:
            for number in range(50):
                await client.put(b"k", str(number).encode())
            assert (await client.get(b"k")).value == b"49"
        assert (await http_get(node.admin, "/readyz"))[0] == 200
        process.send_signal(signal.SIGTERM)
        assert await until_exit(process) == 0
    finally:
        process.kill()
        process.wait()
        os.close(read_end)
        os.close(write_end)


def started(config_file: Path, stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "replicator", "serve", "--config", str(config_file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


def fill(write_end: int) -> None:
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write_end, bytes(1 << 12))
    os.set_blocking(write_end, True)
