"""A real node, unary calls: a client id is new while it is young; a refusal tells how to draw the next one."""

import os
from pathlib import Path

import grpc.aio
import pytest

from replicator.client.wire_errors import error_of
from replicator.model.errors import LOG_TIME_KEY, InvalidArgument, ReplicatorError, SessionExpired
from replicator.model.limits import CLIENT_AGE_MS_MAX, CLIENT_AHEAD_MS_MAX
from replicator.v1 import cluster_pb2, cluster_pb2_grpc, kv_pb2, kv_pb2_grpc
from tests.support.real_nodes import one_node, start_serve, until_ready

pytestmark = pytest.mark.process

SLACK_MS = 60_000  # of a slow machine


async def test_only_a_young_client_id_is_taken_for_a_new_clients(tmp_path: Path) -> None:
    plan = one_node(tmp_path)
    process = start_serve(plan.config_file, plan.log_file)
    try:
        await until_ready(plan, 90.0)
        async with grpc.aio.insecure_channel(plan.api) as channel:
            kv, cluster = kv_pb2_grpc.KVServiceStub(channel), cluster_pb2_grpc.ClusterServiceStub(channel)

            async def put(client_id: bytes, issued_ms: int) -> int:
                write_id = kv_pb2.WriteId(client_id=client_id, sequence=1, oldest_pending=1, issued_ms=issued_ms)
                request = kv_pb2.PutRequest(key=b"k", value=b"v", write_id=write_id)
                return (await kv.Put(request, timeout=30)).revision

            async def refusal(client_id: bytes, issued_ms: int) -> ReplicatorError:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await put(client_id, issued_ms)
                return error_of(refused.value, plan.api, is_write=True)

            now_ms = (await cluster.Status(cluster_pb2.StatusRequest(), timeout=30)).log_time_ms
            first = os.urandom(16)
            assert await put(first, now_ms) == 1
            assert await put(first, now_ms) == 1, "a retry"
            assert await put(first, now_ms - CLIENT_AGE_MS_MAX - 1) == 1, "a client that is remembered has no age"

            for off_ms in (-CLIENT_AGE_MS_MAX - 1, CLIENT_AHEAD_MS_MAX + SLACK_MS):
                refused = await refusal(os.urandom(16), now_ms + off_ms)
                assert isinstance(refused, SessionExpired)
                assert 0 <= int(refused.metadata[LOG_TIME_KEY]) - now_ms < CLIENT_AGE_MS_MAX
                assert await put(os.urandom(16), int(refused.metadata[LOG_TIME_KEY])) > 1

            missing = await refusal(os.urandom(16), 0)
            assert isinstance(missing, InvalidArgument)
            assert missing.metadata["field"] == "write_id.issued_ms"
    finally:
        process.kill()
        process.wait()
