"""No node outlives its launcher, SIGHUP ends no node, and a folder in use is left as it is."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from replicator.dev import LocalCluster, plan_cluster
from replicator.model.errors import ConfigError
from tests.support.real_nodes import one_node, rewrite, run_cli, start_serve, until_ready

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
WAIT_S = 60.0


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A running `replicator dev`, and the process ids of its nodes."""
    command = [sys.executable, "-m", "replicator", "dev", "--data", str(tmp_path), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        described: dict[str, Any] = json.loads(process.stdout.readline())
        yield process, [node["pid"] for node in described["nodes"]]
    finally:
        process.kill()
        process.wait(WAIT_S)
        assert process.stdout is not None
        process.stdout.close()


def files_in(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.glob("*/node.toml")}


def is_gone(pid: int) -> bool:
    """True for a process that has ended, also if nobody has reaped it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(condition: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_however_dev_ends_its_nodes_end_too(dev: tuple[subprocess.Popen[bytes], list[int]], number: int) -> None:
    process, nodes = dev
    assert len(nodes) == 3
    process.send_signal(number)
    code = process.wait(WAIT_S)
    assert code == (0 if number == signal.SIGHUP else -number)
    until(lambda: all(map(is_gone, nodes)), "the nodes end")


async def test_a_folder_in_use_is_refused_with_all_process_ids_and_left_as_it_is(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path, ["eu", "us", "ap"])) as cluster:
        before = files_in(tmp_path)
        pids = [process.pid for process in cluster.nodes.values()]
        refused = await asyncio.to_thread(run_cli, "dev", "--data", str(tmp_path))
        with pytest.raises(ConfigError, match="is in use"):
            await LocalCluster(plan_cluster(tmp_path, ["eu", "us", "ap"])).__aenter__()

        assert refused.code == 2
        eu, us, ap = pids
        named = f"eu-1 as process {eu}, us-1 as process {us}, ap-1 as process {ap}; stop them with: kill {eu} {us} {ap}"
        assert refused.stderr == f"replicator: --data: {tmp_path} is in use: {named}\n"
        assert files_in(tmp_path) == before
        assert all(process.alive for process in cluster.nodes.values())


def test_sighup_reloads_the_log_level_and_ends_no_node(tmp_path: Path) -> None:
    node, log_file = one_node(tmp_path), tmp_path / "stderr"
    process = start_serve(node.config_file, log_file)
    try:
        asyncio.run(until_ready(node, WAIT_S))
        text = node.config_file.read_text()
        node.config_file.write_text(text + '\n[telemetry]\nlog_level = "loud"\n')
        os.kill(process.pid, signal.SIGHUP)
        until(lambda: "SIGHUP: the configuration is not usable" in log_file.read_text(), "a line about the mistake")
        rewrite(node, 'log_level = "loud"', 'log_level = "error"')
        os.kill(process.pid, signal.SIGHUP)
        until(lambda: "SIGHUP: telemetry.log_level is error" in log_file.read_text(), "the new level")
    finally:
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert log_file.read_text().rstrip().endswith("need a restart"), "a line of the drain, which is INFO"
