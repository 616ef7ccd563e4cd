"""A real node: a crowd of fresh client ids from one address is refused, in time, and others find room."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from replicator.client import connect
from replicator.client.wire_errors import error_of
from replicator.model.errors import Overloaded
from replicator.v1 import cluster_pb2, cluster_pb2_grpc, kv_pb2, kv_pb2_grpc
from tests.support.real_nodes import http_get, one_node, start_serve, tail_of, until_ready

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

OTHER_ADDRESS = "127.0.0.2"  # all of 127.0.0.0/8 is this machine
FLOOD = 300
PER_S = 2


async def test_a_flood_of_client_ids_is_held_to_its_quota_and_locks_nobody_else_out(tmp_path: Path) -> None:
    plan = one_node(tmp_path)
    toml = plan.config_file.read_text()
    plan.config_file.write_text(f"{toml}\n[limits]\nnew_clients_per_address_per_s_max = {PER_S}\n")
    process = start_serve(plan.config_file, plan.log_file)
    try:
        await until_ready(plan, 90.0)
        async with grpc.aio.insecure_channel(plan.api) as channel, relay(plan.api_port) as elsewhere:
            kv = kv_pb2_grpc.KVServiceStub(channel)
            status = await cluster_pb2_grpc.ClusterServiceStub(channel).Status(cluster_pb2.StatusRequest(), timeout=60)
            told = Counter(
                await asyncio.gather(
                    *(unary(kv, status.log_time_ms) for _ in range(FLOOD)),
                    *(streamed(kv, status.log_time_ms) for _ in range(FLOOD)),
                )
            )
            assert set(told) == {"", Overloaded.reason}
            assert told[Overloaded.reason] > FLOOD, "most of it"
            async with connect([elsewhere], timeout_s=60.0) as newcomer:
                await newcomer.put(b"k", b"v")
                assert (await newcomer.get(b"k")).value == b"v"
            async with connect([plan.api], timeout_s=60.0) as neighbour:
                await neighbour.put(b"k", b"w")  # it waits for its turn, and gets it
        assert "listen.api: refused new clients from=127.0.0.1" in tail_of(plan.log_file)
        pages = (await http_get(plan.admin, "/metrics"))[1].splitlines()
        refused = next(line for line in pages if line.startswith("replicator_api_new_clients_refused_total"))
        assert float(refused.rpartition(" ")[2]) >= told[Overloaded.reason]
    finally:
        process.kill()
        process.wait()


async def unary(kv: Any, issued_ms: int) -> str:
    """A tiny delete under an id of its own: the reason of its refusal, empty if there is none."""
    write_id = kv_pb2.WriteId(client_id=os.urandom(16), sequence=1, oldest_pending=1, issued_ms=issued_ms)
    try:
        await kv.Delete(kv_pb2.DeleteRequest(key=b"k", write_id=write_id), timeout=60)
    except grpc.aio.AioRpcError as error:
        refused = error_of(error, "node", is_write=True)
        assert refused.retry_after_s is not None
        assert refused.retry_after_s > 0.0
        return refused.reason
    return ""


async def streamed(kv: Any, issued_ms: int) -> str:
    """The same in a batch of one."""
    write = kv_pb2.WriteBatch(
        client_id=os.urandom(16), first_sequence=1, oldest_pending=1, issued_ms=issued_ms,
        kinds=[kv_pb2.WRITE_KIND_DELETE], keys=[b"k"],
    )  # fmt: skip
    call = kv.Exchange(
        iter([kv_pb2.BatchRequests(batches=[kv_pb2.BatchRequest(id=1, timeout_ms=60_000, write=write)])])
    )
    answers = [batch async for message in call for batch in message.batches]
    assert len(answers) == 1
    return Overloaded.reason if Overloaded.reason.encode() in answers[0].error else ""


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[str]:
    """To the node, from OTHER_ADDRESS: a caller on another machine, as the node sees it."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", port, local_addr=(OTHER_ADDRESS, 0))
        await asyncio.gather(carry(reader, outer), carry(inner, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
