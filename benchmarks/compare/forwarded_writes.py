"""Puts through a follower: what a caller in another region than the leader's gets, without the distance."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import replicator
from benchmarks.arena import PROFILE, REGIONS, temporary_folder
from benchmarks.compare.pair import our_roles
from benchmarks.compare.rows import Row, times
from benchmarks.compare.scope import Scope
from benchmarks.compare.sides import Op, PythonSide, Shape
from benchmarks.compare.task import Figure, Stage, Task
from benchmarks.subjects import SdkReplicator
from chaos.wire import DeadEnd
from replicator.dev import LocalCluster, SeenAt, plan_cluster

AT_LEADER: Final = "replicator SDK, at the leader"


@dataclass(frozen=True, slots=True)
class Callers:
    """Two SDK clients of one cluster, each of which can reach one node only."""

    at_leader: PythonSide
    at_follower: PythonSide


@asynccontextmanager
async def _two_clients(_task: Task) -> AsyncIterator[Callers]:
    """Nodes advertise dead ends, so that no client finds a way around the node that it was given."""
    async with AsyncExitStack() as stack:
        plan = plan_cluster(stack.enter_context(temporary_folder()), REGIONS, profile=PROFILE)
        advertised = {node.id: stack.enter_context(DeadEnd()).address for node in plan.nodes}
        seen = {(own.id, other.id): SeenAt(api=advertised[other.id]) for own in plan.nodes for other in plan.nodes}
        cluster = await stack.enter_async_context(LocalCluster(replace(plan, seen_from=seen)))
        leader = await cluster.leader()
        follower = next(name for name in cluster.nodes if name != leader)

        async def side(name: str, node: str) -> PythonSide:
            address = next(process.plan.api for name, process in cluster.nodes.items() if name == node)
            client = await stack.enter_async_context(replicator.connect([address]))
            return PythonSide(name, SdkReplicator(client, ()), our_roles(cluster))

        yield Callers(await side(AT_LEADER, leader), await side("replicator SDK, at a follower", follower))


def forwarded_writes(scope: Scope) -> Stage[Callers]:
    """Both clients are ours: the goal says what forwarding may cost."""
    row = Row(f"forwarded puts/s, {scope.fewer_callers:,} callers, 100 B", AT_LEADER, "puts/s", times(0.7))

    async def measure(callers: Callers, task: Task) -> None:
        shape = Shape(Op.PUT, scope.fewer_callers, scope.put_keys)
        for number in range(scope.rounds):
            task.say(f"  round {number + 1} of {scope.rounds}")
            forwarded = await callers.at_follower.measure(shape, scope.warm_up_s, scope.measure_s)
            direct = await callers.at_leader.measure(shape, scope.warm_up_s, scope.measure_s)
            task.book.add(row, forwarded.per_s, direct.per_s)
            task.book.detail(row, "ours: p50, ms", forwarded.p50_ms)
            task.book.detail(row, "theirs: p50, ms", direct.p50_ms)

    figure = Figure("forwarded", "How many puts are committed through a follower?", (row,), measure)
    return Stage(_two_clients, (figure,))
