"""The local cluster over real processes: it comes up or says why not, and nothing of it stays."""

import asyncio
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from replicator.dev import LocalCluster, NodeProcess, plan_cluster
from replicator.model.errors import StartupError

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]
DEADLINE_S = 30.0


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def found(folder: Path, pattern: str) -> list[str]:
    return sorted(map(str, folder.glob(pattern)))


async def test_a_cluster_describes_itself_and_drains_when_it_is_left(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path, ["eu", "us", "ap"])) as cluster:
        described = cluster.describe()
        assert [(node["id"], node["region"]) for node in described["nodes"]] == [
            ("eu-1", "eu"),
            ("us-1", "us"),
            ("ap-1", "ap"),
        ]
        assert described["leader"] in cluster.nodes
        for node in described["nodes"]:
            assert not is_gone(node["pid"])
        assert cluster.endpoints() == [node["endpoint"] for node in described["nodes"]]
        statuses = await cluster.statuses()
        assert {status.leader_id for status in statuses.values()} == {described["leader"]}
    assert all(process.exit_code == 0 for process in cluster.nodes.values())
    assert sorted(node["config"] for node in described["nodes"]) == found(tmp_path, "*/node.toml")
    assert sorted(node["data_dir"] for node in described["nodes"]) == found(tmp_path, "*/data")
    assert all(is_gone(node["pid"]) for node in described["nodes"])


async def test_a_node_that_dies_is_told_of_left_dead_and_can_be_brought_back(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path, ["eu", "us", "ap"])) as cluster:
        leader = await cluster.leader()
        deaths = cluster.deaths()
        told: asyncio.Task[NodeProcess] = asyncio.ensure_future(anext(deaths))
        await asyncio.sleep(0)
        await cluster.nodes[leader].kill9()
        dead = await asyncio.wait_for(told, DEADLINE_S)
        assert (dead.plan.id, dead.alive, dead.exit_code) == (leader, False, -9)
        successor = await cluster.leader(DEADLINE_S)
        assert successor != leader
        assert not dead.alive

        dead.start()
        await cluster.until_serving(DEADLINE_S)
        assert (dead.alive, dead.starts) == (True, 2)
        await deaths.aclose()  # type: ignore[attr-defined]


async def test_the_same_folder_gives_the_same_cluster_with_its_data(tmp_path: Path) -> None:
    from replicator.client import connect

    async with LocalCluster(plan_cluster(tmp_path, ["eu"])) as first, connect(first.endpoints()) as client:
        await client.put(b"k", b"v")
    async with LocalCluster(plan_cluster(tmp_path, ["eu"])) as second, connect(second.endpoints()) as client:
        assert (await client.get(b"k")).value == b"v"
    assert second.plan.cluster_id == first.plan.cluster_id


async def test_a_node_that_cannot_start_ends_the_start_with_the_end_of_its_log(tmp_path: Path) -> None:
    plan = plan_cluster(tmp_path, ["eu", "us", "ap"])
    us = plan.nodes[1]
    with socket.create_server(("127.0.0.1", us.api_port)):
        cluster = LocalCluster(plan)
        with pytest.raises(StartupError, match=r"node us-1 ended with code 2; the end of its log:\n.*in use"):
            await cluster.__aenter__()
    assert all(is_gone(process.pid) for process in cluster.nodes.values() if process.pid)


async def test_nodes_that_cannot_find_each_other_end_the_start_in_time(tmp_path: Path) -> None:
    from replicator.dev import SeenAt, free_ports

    plan = plan_cluster(tmp_path, ["eu", "us"])
    nowhere = SeenAt(peer=f"127.0.0.1:{free_ports(1)[0]}")
    eu, us = (node.id for node in plan.nodes)
    lost = LocalCluster(replace(plan, seen_from={(eu, us): nowhere, (us, eu): nowhere}), start_timeout_s=3.0)
    with pytest.raises(StartupError, match=r"did not agree on a leader within 3 s|did not answer within 3 s"):
        await lost.__aenter__()
    assert all(is_gone(process.pid) for process in lost.nodes.values())


async def test_an_exception_inside_leaves_no_process(tmp_path: Path) -> None:
    cluster = LocalCluster(plan_cluster(tmp_path, ["eu"]))

    async def fail_inside() -> None:
        async with cluster:
            raise RuntimeError("as planned")

    with pytest.raises(RuntimeError, match="as planned"):
        await fail_inside()
    assert all(process.pid and is_gone(process.pid) for process in cluster.nodes.values())


async def test_a_start_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    cluster = LocalCluster(plan_cluster(tmp_path, ["eu", "us", "ap"]))
    starting = asyncio.create_task(cluster.__aenter__())
    async with asyncio.timeout(DEADLINE_S):
        while not all(process.pid for process in cluster.nodes.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert all(is_gone(process.pid) for process in cluster.nodes.values())
