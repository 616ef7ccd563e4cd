"""Three regions on one machine: a node in each, and lines between them as long as real ones.

Two kinds of lines cross regions: those of the nodes among themselves, and those of an application in one region to a
node in another. Both pass through the proxy, and there is no way around it.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Final

from chaos.wire import DeadEnd, LinkSettings, Network, Route
from replicator.dev import ClusterPlan, LocalCluster, NodePlan, SeenAt, plan_cluster
from replicator.model.ids import NodeId

REGIONS: Final = ("eu", "us", "ap")
ROUND_TRIP_S: Final = {
    frozenset(("eu", "us")): 0.080,
    frozenset(("us", "ap")): 0.150,
    frozenset(("eu", "ap")): 0.220,
}
JITTER_SHARE: Final = 0.02  # of the round trip, on top of it


def round_trip_s(one: str, other: str) -> float:
    """Between two regions; 0 within one."""
    return 0.0 if one == other else ROUND_TRIP_S[frozenset((one, other))]


def least_write_s(region: str, leader_region: str) -> float:
    """What physics asks for one write: from the client to the leader and back, and from there to the nearest other."""
    nearest_s = min(round_trip_s(leader_region, other) for other in REGIONS if other != leader_region)
    return round_trip_s(region, leader_region) + nearest_s


@dataclass(frozen=True, slots=True)
class Stage:
    """A cluster that serves, and the network around it."""

    cluster: LocalCluster
    network: Network
    endpoints: dict[str, list[str]]  # region -> how an application there reaches each node, its own first

    def node_in(self, region: str) -> NodeId:
        """The one node of a region."""
        return next(node.id for node in self.cluster.plan.nodes if node.region == region)

    def region_of(self, node_id: NodeId) -> str:
        return self.cluster.nodes[node_id].plan.region


@asynccontextmanager
async def set_up(directory: Path, seed: int) -> AsyncIterator[Stage]:
    """Starts everything; whatever happens, nothing of it remains. Raises StartupError."""
    plan = plan_cluster(directory, REGIONS, profile="wan")
    distances = {
        pair: LinkSettings.round_trip(seconds, jitter_s=JITTER_SHARE * seconds)
        for pair, seconds in ROUND_TRIP_S.items()
    }
    with ExitStack() as dead_ends:
        async with Network(distances, seed=seed) as network:
            advertised = {node.id: dead_ends.enter_context(DeadEnd()).address for node in plan.nodes}
            routed = replace(plan, seen_from=await _peer_lines(plan, network, advertised))
            endpoints = await _application_lines(plan, network)
            async with LocalCluster(routed) as cluster:
                yield Stage(cluster, network, endpoints)


async def _peer_lines(
    plan: ClusterPlan, network: Network, advertised: dict[NodeId, str]
) -> dict[tuple[NodeId, NodeId], SeenAt]:
    """One line a pair of nodes and direction: either of them dials, should the other not get through."""
    seen = {(node.id, member.id): SeenAt(api=advertised[member.id]) for node in plan.nodes for member in plan.nodes}
    for dialler, other in permutations(plan.nodes, 2):
        line = await network.connect(_route(dialler, other), other.peer)
        seen[dialler.id, other.id] = SeenAt(peer=line.address, api=advertised[other.id])
    return seen


async def _application_lines(plan: ClusterPlan, network: Network) -> dict[str, list[str]]:
    """Within a region an application reaches the node directly, the others over a line each."""
    endpoints: dict[str, list[str]] = {node.region: [node.api] for node in plan.nodes}
    for near, far in permutations(plan.nodes, 2):
        line = await network.connect(_route(near, far), far.api)
        endpoints[near.region].append(line.address)
    return endpoints


def _route(source: NodePlan, target: NodePlan) -> Route:
    return Route(source.region, target.region)
