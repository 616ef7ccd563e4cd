"""A node dials a peer by its own route for as long as it lives, whatever the group says of addresses meanwhile."""

import asyncio
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from chaos.wire import CutMode, LinkSettings, Network, Route
from replicator.dev import LocalCluster, SeenAt, plan_cluster

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

REGIONS = ("eu", "us", "ap")
WAIT_S = 60.0


async def test_without_its_routes_a_cluster_has_no_links(tmp_path: Path) -> None:
    """The first leader writes the membership into the log, with every node's address as it sees it: routes stay."""
    plan = plan_cluster(tmp_path, REGIONS)
    pairs = {frozenset((one.region, other.region)) for one, other in permutations(plan.nodes, 2)}
    async with Network({pair: LinkSettings() for pair in pairs}) as network:
        seen = {}
        for one, other in permutations(plan.nodes, 2):
            line = await network.connect(Route(one.region, other.region), other.peer)
            seen[one.id, other.id] = SeenAt(peer=line.address)
        async with LocalCluster(replace(plan, seen_from=seen)) as cluster, asyncio.timeout(WAIT_S):
            while any(not status.membership_index for status in (await cluster.statuses()).values()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            addresses = {
                member.node_id: member.peer_address
                for status in (await cluster.statuses()).values()
                for member in status.members
            }
            assert addresses == {node.id: node.peer for node in plan.nodes}, "the group knows nothing of routes"

            for region in REGIONS:
                network.cut_off(region, CutMode.RESET)
            while any(status.role == "leader" for status in (await cluster.statuses()).values()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            network.heal()
            await cluster.until_serving(WAIT_S)
