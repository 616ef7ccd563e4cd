"""Real processes: a drain fails no write, a broken disk stops a node loudly, a full one only stops its writes."""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from replicator.client import Client, connect
from replicator.dev import LocalCluster, NodePlan, plan_cluster
from replicator.model.errors import ReplicatorError, StorageFull
from replicator.model.ids import NodeId
from tests.support.load import all_pairs, load_on
from tests.support.real_nodes import (
    http_get,
    one_node,
    start_serve,
    tail_of,
    until,
    until_exit,
    until_ready,
)

pytestmark = pytest.mark.process

DRAIN_S_MAX = 10.0
MIB = 1 << 20
WRITES_FOR_A_FLUSH = 64  # of 1 MiB; a layer of 8 MiB is due


async def test_sigterm_of_each_node_in_turn_under_load_fails_no_write_and_loses_none(tmp_path: Path) -> None:
    """A rolling restart is invisible to clients that retry: leadership leaves before the leader does."""
    async with LocalCluster(plan_cluster(tmp_path, ["eu", "us", "ap"])) as cluster:
        endpoints = cluster.endpoints()
        async with load_on(endpoints) as load:
            for node_id in sorted(cluster.nodes, key=lambda node: node == cluster.describe()["leader"], reverse=True):
                before = len(load.acknowledged)
                await until(lambda: len(load.acknowledged) > before + 50, "load")  # noqa: B023
                process = cluster.nodes[node_id]
                began_s = time.monotonic()
                process_code = await process.terminate(timeout_s=DRAIN_S_MAX)
                assert process_code == 0, process.log_tail(40)
                assert time.monotonic() - began_s < DRAIN_S_MAX
                await cluster.leader(timeout_s=10)
                process.start()
                await until_ready(process.plan)
        assert load.failures == []
        assert len(load.acknowledged) > 150
        for endpoint in endpoints:
            held = await all_pairs(endpoint, b"load/")
            assert load.acknowledged.items() <= held.items(), "an acknowledged write is gone"


async def test_a_leader_that_drains_hands_over_before_it_goes(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path, ["eu", "us", "ap"])) as cluster:
        old = await cluster.leader()
        process = cluster.nodes[old]

        assert await process.terminate(timeout_s=DRAIN_S_MAX) == 0

        log = process.log_tail(200)
        assert "could not be handed over" not in log
        new = await cluster.leader()
        assert new != old
        assert "drained node=" in log


async def test_idle_connections_and_health_watches_do_not_hold_up_a_drain(tmp_path: Path) -> None:
    node = one_node(tmp_path)
    process = start_serve(node.config_file, node.log_file)
    try:
        await until_ready(node)
        reader, writer = await asyncio.open_connection("127.0.0.1", node.admin_port)
        writer.write(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n")
        assert b"200" in await reader.readline()
        async with grpc.aio.insecure_channel(node.api) as channel:
            request = health_pb2.HealthCheckRequest(service="replicator.v1.KVService")
            answers = aiter(health_pb2_grpc.HealthStub(channel).Watch(request))
            while (await anext(answers)).status != health_pb2.HealthCheckResponse.SERVING:
                pass

            process.send_signal(signal.SIGTERM)

            assert (await anext(answers)).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await until_exit(process, DRAIN_S_MAX) == 0, tail_of(node.log_file)
        writer.close()
    finally:
        process.kill()


async def test_a_second_signal_ends_the_process_at_once_and_what_was_acknowledged_stays(tmp_path: Path) -> None:
    node = one_node(tmp_path)
    process = start_serve(node.config_file, node.log_file)
    try:
        await until_ready(node)
        async with connect([node.api]) as client:
            await client.put(b"k", b"v")
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
        assert await until_exit(process, DRAIN_S_MAX) in (0, 128 + signal.SIGINT, 128 + signal.SIGTERM)
        process = start_serve(node.config_file, node.log_file)
        await until_ready(node)
        async with connect([node.api]) as client:
            assert (await client.get(b"k")).value == b"v"
    finally:
        process.kill()
        process.wait()


async def test_probes_follow_the_life_of_a_node(tmp_path: Path) -> None:
    node = one_node(tmp_path)
    process = start_serve(node.config_file, node.log_file)
    try:
        await until_ready(node)
        assert (await http_get(node.admin, "/livez"))[0] == 200
        assert (await http_get(node.admin, "/startupz"))[0] == 200
        assert (await http_get(node.admin, "/readyz"))[1] == "ready: leader eu-1\n"
        metrics = (await http_get(node.admin, "/metrics"))[1]
        assert 'replicator_engine_role{role="leader"} 1.0' in metrics
        assert "replicator_storage_commit_s_count" in metrics
        line = next(line for line in node.log_file.read_text().splitlines() if " serving " in line)
        assert line.endswith(f"serving node=eu-1 region=eu api={node.api} peer={node.peer} admin={node.admin}")
    finally:
        process.terminate()
        assert await until_exit(process) == 0
    assert (await http_get(node.admin, "/livez"))[0] == 0


async def test_a_node_without_its_majority_lives_and_is_not_ready(tmp_path: Path) -> None:
    """Restarting it would not help, so /livez stays 200; nobody has vouched for its data, so /readyz is 503."""
    plan = plan_cluster(tmp_path, ["eu", "us", "ap"])
    plan.write()
    lone = plan.nodes[0]
    process = start_serve(lone.config_file, lone.log_file)
    try:
        await until(lambda: " serving " in tail_of(lone.log_file), "serving")
        assert (await http_get(lone.admin, "/livez"))[0] == 200
        status, body = await http_get(lone.admin, "/readyz")
        assert status == 503
        assert body.startswith(
            "catching up: applied 0, no leader known; no majority: 2 of 3 voters are not connected ("
        )
    finally:
        process.terminate()
        assert await until_exit(process, DRAIN_S_MAX) == 0, tail_of(lone.log_file)


async def test_a_failed_write_of_the_log_stops_the_node_loudly_and_a_restart_has_all_that_was_acknowledged(
    shim: Path, tmp_path: Path
) -> None:
    node, control = one_node(tmp_path), tmp_path / "disk-fails"
    environment = {**os.environ, "LD_PRELOAD": str(shim), "PWRITE_SHIM_FAILS": str(control)}
    process = start_serve(node.config_file, node.log_file, environment)
    try:
        await until_ready(node)
        async with connect([node.api]) as client:
            await client.put(b"before", b"1")
            control.touch()
            with pytest.raises(ReplicatorError) as refusal:
                await client.put(b"after", b"2", timeout_s=3)
        assert refusal.value.applied == "unknown", "the write was on its way to the disk"
        await _stopped_by_its_disk(process, node)
        await _held_after_a_restart(node, {b"before": b"1"})
    finally:
        process.kill()
        process.wait()


async def test_a_failed_flush_of_the_state_stops_the_node_loudly_and_a_restart_has_all_that_was_acknowledged(
    shim: Path, tmp_path: Path
) -> None:
    """The log took the writes, so they are acknowledged; the node ends as soon as the data file does not follow."""
    node, control = one_node(tmp_path), tmp_path / "disk-fails"
    environment = {**os.environ, "LD_PRELOAD": str(shim), "FSYNC_SHIM_FAILS": str(control)}
    process = start_serve(node.config_file, node.log_file, environment)
    acknowledged: dict[bytes, bytes] = {}
    try:
        await until_ready(node)
        async with connect([node.api]) as client:
            control.touch()
            with contextlib.suppress(ReplicatorError):
                for number in range(WRITES_FOR_A_FLUSH):
                    key = b"key/%d" % number
                    await client.put(key, b"v" * MIB, timeout_s=3)
                    acknowledged[key] = b"v" * MIB
        assert len(acknowledged) < WRITES_FOR_A_FLUSH, "no flush was due"
        await _stopped_by_its_disk(process, node)
        await _held_after_a_restart(node, acknowledged)
    finally:
        process.kill()
        process.wait()


async def _stopped_by_its_disk(process: "subprocess.Popen[bytes]", node: NodePlan) -> None:
    assert await until_exit(process, DRAIN_S_MAX) == 70, tail_of(node.log_file)
    log = node.log_file.read_text()
    critical = [line for line in log.splitlines() if " CRITICAL " in line]
    assert len(critical) == 1, log
    assert "storage failed" in critical[0]
    assert f"Remedy: check the disk under {node.data_dir}" in critical[0]
    assert "Traceback" not in log


async def _held_after_a_restart(node: NodePlan, pairs: dict[bytes, bytes]) -> None:
    process = start_serve(node.config_file, node.log_file)
    try:
        await until_ready(node)
        async with connect([node.api]) as client:
            for key, value in pairs.items():
                assert (await client.get(key)).value == value
    finally:
        process.kill()
        process.wait()


async def test_corrupt_data_stops_the_node_with_a_remedy(tmp_path: Path) -> None:
    node = one_node(tmp_path)
    process = start_serve(node.config_file, node.log_file)
    try:
        await until_ready(node)
        async with connect([node.api]) as client:
            for number in range(200):
                await client.put(b"key/%d" % number, b"v" * 1000)
    finally:
        process.terminate()
        assert await until_exit(process) == 0
    node.log_file.unlink()
    _damage_pages(node)

    process = start_serve(node.config_file, node.log_file)
    try:
        code = await until_exit(process)
    finally:
        process.kill()

    log = node.log_file.read_text()
    assert code in (2, 70), log
    assert "Traceback" not in log
    assert len(log.splitlines()) == 1, log
    assert "move" in log, "the line names a remedy"


def _damage_pages(node: NodePlan) -> None:
    """Overwrites every page but the two meta pages, as a disk that lost them would."""
    file = node.data_dir / "data.mdb"
    content = bytearray(file.read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    file.write_bytes(content)


async def test_a_full_disk_refuses_writes_serves_reads_and_heals_without_a_restart(tmp_path: Path) -> None:
    """A limit on file size stands for the disk; the node meets it in the same calls."""
    node = one_node(tmp_path)
    process = start_serve(node.config_file, node.log_file)
    try:
        await until_ready(node)
        async with connect([node.api]) as client:
            await client.put(b"small", b"1")
            _limit_files(process.pid, node)
            refused = await _fill(client)
            assert isinstance(refused, StorageFull), refused

            assert (await client.get(b"small")).value == b"1"
            assert (await client.status()).read_only_reason
            status, body = await http_get(node.admin, "/readyz")
            assert status == 200, "reads go on, so traffic may"
            assert "; read-only: " in body

            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await _until_written(client, b"healed")
            assert (await client.status()).read_only_reason == ""
        assert process.poll() is None
    finally:
        process.terminate()
        assert await until_exit(process, DRAIN_S_MAX) == 0, tail_of(node.log_file)


async def test_when_the_leaders_disk_is_full_the_cluster_goes_on_writing(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path, ["eu", "us", "ap"])) as cluster:
        leader = await cluster.leader()
        process = cluster.nodes[leader]
        async with connect(cluster.endpoints()) as client:
            await client.put(b"small", b"1")
            _limit_files(process.pid, process.plan)
            big = b"x" * MIB
            acknowledged = []
            for number in range(_puts_beyond(process.plan)):
                try:
                    await client.put(b"big/%d" % number, big, timeout_s=20)
                except StorageFull:
                    continue
                acknowledged.append(number)
            await _until_written(client, b"after")
            full = await cluster.status(leader)
            assert full.read_only_reason
            assert await cluster.leader() != leader
            assert process.alive

            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await _until_writable(cluster, leader)
        held = await all_pairs(process.plan.api, b"big/")
        assert {b"big/%d" % number for number in acknowledged} <= held.keys()


def _limit_files(pid: int, node: NodePlan) -> None:
    """No file of the process may grow from here on."""
    size_bytes = (node.data_dir / "data.mdb").stat().st_size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


def _puts_beyond(node: NodePlan) -> int:
    """Puts of 1 MiB that surely do not fit: each is in the log and in the store."""
    return (node.data_dir / "data.mdb").stat().st_size // MIB + 8


async def _fill(client: Client) -> ReplicatorError:
    """Writes until one write is refused for good."""
    for number in range(4096):
        try:
            await client.put(b"big/%d" % number, b"x" * MIB, timeout_s=5)
        except ReplicatorError as error:
            if error.applied == "no":
                return error
    raise AssertionError("the disk was never full")


async def _until_written(client: Client, key: bytes) -> None:
    deadline_s = time.monotonic() + 30
    while True:
        try:
            await client.put(key, b"1", timeout_s=5)
        except ReplicatorError:
            assert time.monotonic() < deadline_s, "no write got through"
            await asyncio.sleep(0.05)
        else:
            return


async def _until_writable(cluster: LocalCluster, node_id: NodeId) -> None:
    deadline_s = time.monotonic() + 30
    while (await cluster.status(node_id)).read_only_reason:
        assert time.monotonic() < deadline_s, "the node stays read-only"
        await asyncio.sleep(0.05)
