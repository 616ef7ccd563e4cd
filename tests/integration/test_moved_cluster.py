"""All nodes move at once, and only their files say where: the group finds itself, and puts its addresses right."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import replicator
from replicator.dev import ClusterPlan, LocalCluster, plan_cluster
from replicator.dev.tcp_ports import free_ports
from replicator.model.ids import NodeId
from replicator.model.values import NodeStatus
from tests.support.real_nodes import run_cli

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

REGIONS = ("eu", "us", "ap")
WAIT_S = 60.0


def to_other_ports(plan: ClusterPlan, peer_ports: list[int]) -> ClusterPlan:
    """The same nodes and folders; each node has another peer address in every file."""
    nodes = [replace(node, peer_port=port) for node, port in zip(plan.nodes, peer_ports, strict=True)]
    return replace(plan, nodes=tuple(nodes))


def log_of(cluster: LocalCluster) -> str:
    return "".join(process.plan.log_file.read_text(encoding="utf-8") for process in cluster.nodes.values())


def group_addresses(status: NodeStatus) -> dict[str, str]:
    return {member.node_id: member.peer_address for member in status.members}


def links_elsewhere(statuses: Mapping[NodeId, NodeStatus]) -> dict[tuple[str, str], str]:
    """(who looks, at whom) -> the address of the link, where it is not the group's."""
    return {
        (viewer, member.node_id): member.linked_at
        for viewer, status in statuses.items()
        for member in status.members
        if member.linked_at
    }


async def until_all(cluster: LocalCluster, holds: Callable[[NodeStatus], bool]) -> None:
    """Until every node answers, and what it says holds."""
    async with asyncio.timeout(WAIT_S):
        while True:
            statuses = await cluster.statuses()
            if len(statuses) == len(cluster.nodes) and all(holds(status) for status in statuses.values()):
                return
            await asyncio.sleep(0.05)


async def cli(cluster: LocalCluster, *arguments: str) -> None:
    environment = {**os.environ, "REPLICATOR_ENDPOINTS": ",".join(cluster.endpoints())}
    ended = await asyncio.to_thread(run_cli, *arguments, "--timeout", "20", environment=environment)
    assert ended.code == 0, ended


async def a_group_whose_addresses_are_in_force(plan: ClusterPlan) -> None:
    """It has changed its members and written; no node runs any more."""
    async with LocalCluster(plan) as cluster:
        for change in ("demote", "promote"):
            await cli(cluster, "member", change, "ap-1")
        async with replicator.connect(cluster.endpoints()) as client:
            await client.put(b"before", b"1")
        await until_all(cluster, lambda status: status.membership_index > 0)


async def assert_serves(cluster: LocalCluster) -> None:
    async with replicator.connect(cluster.endpoints()) as client:
        assert (await client.get(b"before")).value == b"1"
        written = await client.put(b"after", b"2")
        for endpoint in cluster.endpoints():
            async with replicator.connect([endpoint]) as reader:
                assert (await reader.get(b"after", token=written.token)).value == b"2"


async def test_a_group_whose_nodes_all_moved_serves_and_learns_its_new_addresses(tmp_path: Path) -> None:
    plan = plan_cluster(tmp_path, REGIONS)
    await a_group_whose_addresses_are_in_force(plan)

    moved = to_other_ports(plan, free_ports(len(REGIONS)))
    async with LocalCluster(moved, start_timeout_s=WAIT_S) as cluster:
        await assert_serves(cluster)
        addresses = {node.id: node.peer for node in moved.nodes}
        await until_all(cluster, lambda status: group_addresses(status) == addresses)
        assert links_elsewhere(await cluster.statuses()) == {}, "nothing differs once the group knows"

        assert ", of this node's own file; the group knows address=" in log_of(cluster)


async def test_nodes_that_took_each_others_addresses_find_each_other_by_their_files(tmp_path: Path) -> None:
    """Every address of the group leads to another node than it says, or to the node itself.

    No node can tell the group its new address first, since another member has it; one command makes room.
    """
    plan = plan_cluster(tmp_path, REGIONS)
    await a_group_whose_addresses_are_in_force(plan)

    ports = [node.peer_port for node in plan.nodes]
    swapped = to_other_ports(plan, [*ports[1:], ports[0]])
    async with LocalCluster(swapped, start_timeout_s=WAIT_S) as cluster:
        await assert_serves(cluster)
        addresses = {node.id: node.peer for node in swapped.nodes}
        await until_all(cluster, lambda status: all(member.connected for member in status.members))
        elsewhere = links_elsewhere(await cluster.statuses())
        assert elsewhere
        assert {member: address for (_, member), address in elsewhere.items()}.items() <= addresses.items()
        assert "WRONG_NODE" in log_of(cluster)

        one, (spare_port,) = swapped.nodes[0], free_ports(1)
        spare = ("--peer", f"127.0.0.1:{spare_port}")
        await cli(cluster, "member", "add", one.id, "--region", one.region, *spare, "--api", one.api)
        await until_all(cluster, lambda status: group_addresses(status) == addresses)
        assert links_elsewhere(await cluster.statuses()) == {}
