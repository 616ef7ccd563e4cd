"""Real processes: leadership returns to the preferred region without a failed write, and leaves a minority."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import fields, replace
from itertools import permutations
from pathlib import Path

import grpc.aio
import pytest

from chaos.wire import CutMode, LinkSettings, Network, Route
from replicator.client.wire_errors import error_of
from replicator.dev import ClusterPlan, LocalCluster, NodePlan, SeenAt, plan_cluster
from replicator.model.errors import NoLeader, OutcomeUnknown, Unavailable
from replicator.model.ids import NodeId
from replicator.v1 import kv_pb2, kv_pb2_grpc
from tests.support.load import all_pairs, load_on
from tests.support.real_nodes import stopped, until, until_ready

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

REGIONS = ("eu", "us", "ap")
EU, US = NodeId("eu-1"), NodeId("us-1")
CLIENT_ID = b"sixteen bytes id"
LONG_S = 55.0
SETTLED_S = 60.0


class PreferringPlan(ClusterPlan):
    """A plan whose nodes prefer leaders in the order of REGIONS."""

    def toml_of(self, viewer: NodePlan) -> str:
        order = ", ".join(f'"{region}"' for region in REGIONS)
        return ClusterPlan.toml_of(self, viewer).replace("[raft]\n", f"[raft]\nleader_preference = [{order}]\n")


def prefers_eu(directory: Path) -> ClusterPlan:
    plan = plan_cluster(directory, REGIONS)
    return PreferringPlan(**{field.name: getattr(plan, field.name) for field in fields(plan)})


async def until_leads(cluster: LocalCluster, node_id: NodeId) -> None:
    """All that run follow that node."""
    deadline_s = time.monotonic() + SETTLED_S
    while {status.leader_id for status in (await cluster.statuses()).values()} != {node_id}:
        assert time.monotonic() < deadline_s, f"{node_id} does not lead: {await cluster.statuses()}"
        await asyncio.sleep(0.05)


# A preferred region --------------------------------------------------------------------------------------------------


async def test_leadership_returns_to_the_preferred_region_and_no_write_fails(tmp_path: Path) -> None:
    """eu leads, us in its place while it is dead, eu again once it has caught up; ap only for a moment, if at all."""
    async with LocalCluster(prefers_eu(tmp_path)) as cluster:
        await until_leads(cluster, EU)
        async with load_on(cluster.endpoints()) as load:
            await until(lambda: len(load.acknowledged) > 100, "load")
            await cluster.nodes[EU].kill9()
            await until_leads(cluster, US)
            load.failures.clear()  # of the kill: what was under way is unknown
            cluster.nodes[EU].start()
            await until_ready(cluster.nodes[EU].plan)
            await until_leads(cluster, EU)
            before = len(load.acknowledged)
            await until(lambda: len(load.acknowledged) > before + 100, "load")
        assert load.failures == []
        for endpoint in cluster.endpoints():
            held = await all_pairs(endpoint, b"load/")
            assert load.acknowledged.items() <= held.items(), "an acknowledged write is gone"
        assert "transferring leadership to eu-1" in cluster.nodes[US].log_tail(1000)


# A leader without its majority ---------------------------------------------------------------------------------------


class Caller:
    """Asks one node, once: what a client hears before it tries anything else."""

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self._stub, self._address = kv_pb2_grpc.KVServiceStub(channel), address
        self._issued_ms = time.time_ns() // 1_000_000  # a new group begins at the calendar

    async def put(self, sequence: int) -> kv_pb2.PutResponse:
        write_id = kv_pb2.WriteId(client_id=CLIENT_ID, sequence=sequence, oldest_pending=1, issued_ms=self._issued_ms)
        request = kv_pb2.PutRequest(key=b"order", value=b"%d" % sequence, write_id=write_id)
        try:
            return await self._stub.Put(request, timeout=LONG_S)
        except grpc.aio.AioRpcError as error:
            raise error_of(error, self._address, is_write=True) from error

    async def get(self) -> kv_pb2.GetResponse:
        request = kv_pb2.GetRequest(
            key=b"order", options=kv_pb2.ReadOptions(consistency=kv_pb2.CONSISTENCY_LINEARIZABLE)
        )
        try:
            return await self._stub.Get(request, timeout=LONG_S)
        except grpc.aio.AioRpcError as error:
            raise error_of(error, self._address, is_write=False) from error


@asynccontextmanager
async def caller_of(node: NodePlan) -> AsyncIterator[Caller]:
    async with grpc.aio.insecure_channel(node.api) as channel:
        yield Caller(channel, node.api)


async def assert_learns_that_its_leader_is_alone(cluster: LocalCluster, caller: Caller, leader: NodeId) -> None:
    """Both calls end because the leader gave up, which their messages say, and not because their time was over."""
    write, read = asyncio.create_task(caller.put(2)), asyncio.create_task(caller.get())
    with pytest.raises(OutcomeUnknown, match="leadership was lost while the write was being replicated"):
        await write
    with pytest.raises(NoLeader):
        await read
    assert (await cluster.status(leader)).role != "leader"


async def assert_unknown_write_happened_once(cluster: LocalCluster, caller: Caller) -> None:
    """The same write id is safe to repeat until it is answered."""
    await cluster.until_serving(SETTLED_S)
    deadline_s = time.monotonic() + SETTLED_S
    while time.monotonic() < deadline_s:
        with suppress(OutcomeUnknown, Unavailable):
            await caller.put(2)
            break
    found = await caller.get()
    assert (found.kv.value, found.kv.version) == (b"2", 2)


async def test_a_leader_whose_followers_stand_still_gives_up_and_tells_its_callers(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        leader = await cluster.leader()
        async with caller_of(cluster.nodes[leader].plan) as caller:
            await caller.put(1)
            with stopped([process.pid for name, process in cluster.nodes.items() if name != leader]):
                await assert_learns_that_its_leader_is_alone(cluster, caller, leader)
            await assert_unknown_write_happened_once(cluster, caller)


async def test_a_followers_callers_do_not_wait_for_a_leader_that_stands_still(tmp_path: Path) -> None:
    """Its link stays up, and nothing more is heard of it: the others have another leader long before the link falls."""
    async with LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster:
        leader = await cluster.leader()
        follower = next(process.plan for name, process in cluster.nodes.items() if name != leader)
        async with caller_of(follower) as caller:
            await caller.put(1)
            with stopped([cluster.nodes[leader].pid]):
                with suppress(OutcomeUnknown):  # or the next leader was asked
                    await caller.put(2)
                statuses = await cluster.statuses()
                assert statuses[follower.id].leader_id != leader
                followers = [status for status in statuses.values() if status.role != "leader"]
                linked = [each.connected for status in followers for each in status.members if each.node_id == leader]
                assert any(linked), "the answer came before the link fell"
            await assert_unknown_write_happened_once(cluster, caller)


async def test_a_leader_that_is_cut_off_gives_up_and_tells_its_callers(tmp_path: Path) -> None:
    """The network goes silent; the others elect a leader meanwhile, and the deposed one follows it after the heal."""
    plan = plan_cluster(tmp_path, REGIONS)
    pairs = [frozenset(pair) for pair in (("eu", "us"), ("us", "ap"), ("eu", "ap"))]
    async with Network({pair: LinkSettings() for pair in pairs}) as network:
        routed = replace(plan, seen_from=await lines(plan, network))
        async with LocalCluster(routed) as cluster:
            leader = await cluster.leader()
            async with caller_of(cluster.nodes[leader].plan) as caller:
                await caller.put(1)
                network.cut_off(cluster.nodes[leader].plan.region, CutMode.STALL)
                await assert_learns_that_its_leader_is_alone(cluster, caller, leader)
                assert await cluster.leader(SETTLED_S) != leader
                network.heal()
                await assert_unknown_write_happened_once(cluster, caller)


async def lines(plan: ClusterPlan, network: Network) -> dict[tuple[NodeId, NodeId], SeenAt]:
    """A proxied line for each pair of nodes and direction: either of them dials, should the other not get through."""
    seen = {}
    for dialler, other in permutations(plan.nodes, 2):
        line = await network.connect(Route(dialler.region, other.region), other.peer)
        seen[dialler.id, other.id] = SeenAt(peer=line.address)
    return seen
