"""Far more callers than a cluster can serve: it goes on, says so in words of its own, and loses nothing."""

import asyncio
from collections import Counter
from pathlib import Path

import grpc.aio
import pytest

import replicator
from replicator.client.wire_errors import DETAILS_KEY
from replicator.dev import LocalCluster, plan_cluster
from replicator.model.errors import ReplicatorError
from replicator.v1 import kv_pb2, kv_pb2_grpc

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

REGIONS = ("eu", "us", "ap")
CALLERS = 800
CALLS = 4000
VALUE = bytes(10_240)
ENDED_UNTYPED = {grpc.StatusCode.DEADLINE_EXCEEDED}  # by the caller's own side, which does not wait for the node


async def test_too_many_writers_are_served_or_refused_and_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    acknowledged, told, numbers = set[bytes](), Counter[str](), iter(range(CALLS))
    async with (
        LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster,
        replicator.connect(cluster.endpoints()) as client,
        asyncio.timeout(200),
    ):

        async def caller() -> None:
            for number in numbers:
                key = b"overload-%06d" % number
                try:
                    await client.put(key, VALUE, timeout_s=3.0)
                    acknowledged.add(key)
                except ReplicatorError as error:
                    told[error.reason] += 1

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        assert all(process.alive for process in cluster.nodes.values())
        assert acknowledged
        assert set(told) <= {"OVERLOADED", "OUTCOME_UNKNOWN", "DEADLINE_EXCEEDED", "NO_LEADER"}, told
        held = {
            pair.key
            async for pair in client.scan(
                prefix=b"overload-", consistency=replicator.LINEARIZABLE, timeout_s=30.0, page_size=50
            )
        }
        assert acknowledged <= held
        await client.put(b"after", b"v", timeout_s=30.0)


async def test_thousands_of_unary_gets_on_one_channel_meet_no_end_without_a_reason(tmp_path: Path) -> None:
    """gRPC's own bound ended what is beyond 1,000 to 3,000 calls by CANCELLED."""
    async with (
        LocalCluster(plan_cluster(tmp_path, REGIONS)) as cluster,
        asyncio.timeout(200),
        grpc.aio.insecure_channel(cluster.endpoints()[0]) as channel,
    ):
        get = kv_pb2_grpc.KVServiceStub(channel).Get
        request = kv_pb2.GetRequest(key=b"k")
        results = await asyncio.gather(*(get(request, timeout=60.0) for _ in range(CALLS)), return_exceptions=True)
    bare = Counter[str]()
    for result in results:
        if isinstance(result, grpc.aio.AioRpcError):
            is_typed = any(name == DETAILS_KEY for name, _value in result.trailing_metadata() or ())
            if not is_typed and result.code() not in ENDED_UNTYPED:
                bare[result.code().name] += 1
    assert not bare
    assert any(isinstance(result, kv_pb2.GetResponse) for result in results)
