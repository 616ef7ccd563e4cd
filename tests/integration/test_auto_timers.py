"""With the profile `auto`, real nodes agree on timers that fit the distance between them."""

import asyncio
from pathlib import Path

import pytest

import replicator
from replicator.dev import LocalCluster, plan_cluster

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(240)]

WAN_ELECTION_MS = 1500  # what `auto` begins with


async def test_nodes_that_are_close_agree_on_short_timers_and_keep_them(tmp_path: Path) -> None:
    """On loopback, those of a local network: through the log, so all nodes have the same, after a restart too."""
    plan = plan_cluster(tmp_path, ["eu", "us", "ap"], profile="auto")
    async with LocalCluster(plan) as cluster, replicator.connect(cluster.endpoints()) as client:
        await client.put(b"k", b"v", timeout_s=20.0)
        agreed = await agreed_election_ms(cluster)
        assert agreed < WAN_ELECTION_MS
        leader = await cluster.leader()
        follower = next(name for name in cluster.nodes if name != leader)
        await cluster.nodes[follower].kill9()
        cluster.nodes[follower].start()
        await cluster.until_serving(30.0)
        assert await agreed_election_ms(cluster) <= agreed
        await client.put(b"k", b"w", timeout_s=20.0)


async def agreed_election_ms(cluster: LocalCluster) -> int:
    """Of all nodes, once they are alike and no longer those to begin with."""
    while True:
        statuses = (await cluster.statuses()).values()
        found = {status.election_timeout_min_ms for status in statuses}
        if len(statuses) == len(cluster.nodes) and len(found) == 1 and found != {WAN_ELECTION_MS}:
            return found.pop()
        await asyncio.sleep(0.2)
