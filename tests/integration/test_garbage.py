"""Bytes that are no message, to every method that a node serves: refused by name, without a traceback."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from replicator.client.wire_errors import error_of
from replicator.model.errors import InvalidArgument, ReplicatorError
from replicator.model.limits import REQUEST_BYTES_MAX
from replicator.v1 import cluster_pb2, kv_pb2
from tests.support.api_nodes import ApiNode, serving
from tests.support.memory_cluster import MemoryCluster

TIMEOUT_S = 10.0
LONGER_THAN_IT_IS = b"\x0a\xff\xff\xff\xff\x0f"  # field 1 says that it has 4 GiB
NOT_UTF_8 = b"\x0a\x02\xff\xfe"
EXCHANGE = "/replicator.v1.KVService/Exchange"
GARBAGE = {
    "cut": LONGER_THAN_IT_IS,
    "random": random.Random(8).randbytes(300),
    "end of a group": b"\x0c",
    "deep": b"\x0b" * 10_000,
    "endless number": b"\x08" + b"\xff" * 20,
}


class Method(NamedTuple):
    path: str
    is_stream: bool  # of answers
    is_own: bool


def methods() -> Iterator[Method]:
    files: list[tuple[FileDescriptor, bool]] = [
        (kv_pb2.DESCRIPTOR, True),
        (cluster_pb2.DESCRIPTOR, True),
        (health_pb2.DESCRIPTOR, False),
        (reflection_pb2.DESCRIPTOR, False),
    ]
    for file, is_own in files:
        for service in file.services_by_name.values():
            for method in service.methods:
                yield Method(f"/{service.full_name}/{method.name}", method.server_streaming, is_own)


ALL = list(methods())
OWN = [method for method in ALL if method.is_own]


@pytest.fixture
async def api() -> AsyncIterator[ApiNode]:
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    async with serving(cluster) as [node]:
        yield node


async def send(api: ApiNode, method: Method, body: bytes) -> bytes | grpc.aio.AioRpcError:
    """The raw answer (of a stream: the first one; of Exchange: the last one), or how the call ended."""
    channel: Any  # its methods take and give bytes
    async with grpc.aio.insecure_channel(api.address) as channel:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if not method.is_stream:
                    return bytes(await channel.unary_unary(method.path)(body))
                if method.path.endswith("ServerReflectionInfo"):
                    async for answer in channel.stream_stream(method.path)(iter([body])):
                        return bytes(answer)
                if method.path == EXCHANGE:
                    return bytes([answer async for answer in channel.stream_stream(method.path)(iter([body]))][-1])
                async for answer in channel.unary_stream(method.path)(body):
                    return bytes(answer)
        except grpc.aio.AioRpcError as error:
            return error
    raise AssertionError(f"{method.path} ended without an answer")


def typed(error: bytes | grpc.aio.AioRpcError) -> ReplicatorError:
    assert isinstance(error, grpc.aio.AioRpcError), f"answered {error!r}"
    return error_of(error, "node", is_write=True)


def assert_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
    assert [record for record in caplog.records if record.exc_info] == []


def test_all_methods_are_here() -> None:
    assert len(OWN) == 13
    assert {method.path.split("/")[1] for method in ALL} == {
        "replicator.v1.KVService",
        "replicator.v1.ClusterService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("method", ALL, ids=lambda method: method.path)
async def test_what_is_no_message_is_an_invalid_argument(
    method: Method, kind: str, api: ApiNode, caplog: pytest.LogCaptureFixture
) -> None:
    ended = await send(api, method, GARBAGE[kind])

    error = typed(ended)
    assert isinstance(ended, grpc.aio.AioRpcError)
    assert ended.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert type(error) is InvalidArgument
    assert error.metadata == {"field": "request"}
    assert len(error.message) < 200
    assert "Traceback" not in str(ended.details())
    assert_no_traceback(caplog)


@pytest.mark.parametrize("method", OWN, ids=lambda method: method.path)
async def test_another_methods_message_or_a_cut_one_gets_a_typed_answer(
    method: Method, api: ApiNode, caplog: pytest.LogCaptureFixture
) -> None:
    bodies: list[Message | bytes] = [
        kv_pb2.PutRequest(key=b"k", value=b"v" * 50, write_id=kv_pb2.WriteId(client_id=b"c" * 16, sequence=1)),
        kv_pb2.ScanRequest(start=b"a", end=b"b", page_size=1 << 31, page_token="x" * 900),
        cluster_pb2.SetMemberRequest(node_id="n\n", region="r", peer_address="unix:/x:1", api_address="\x1b:1"),
        cluster_pb2.TransferLeadershipRequest(node_id="no-such\nnode", region=""),
        kv_pb2.BatchRequests(batches=[kv_pb2.BatchRequest(id=1, write=kv_pb2.WriteBatch(keys=[b"k"], values=[b"v"]))]),
        NOT_UTF_8,
    ]
    for body in bodies:
        whole = body if isinstance(body, bytes) else body.SerializeToString()
        for end in {0, 1, 2, len(whole) // 2, len(whole) - 1, len(whole)}:
            ended = await send(api, method, whole[:end])
            if isinstance(ended, grpc.aio.AioRpcError):
                assert ended.code() not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL), ended
                assert typed(ended).metadata.get("grpc_code") is None, "an error of ours says so itself"
    assert_no_traceback(caplog)


# A batch of a stream is refused alone: tests/integration/test_batch_streams.py.
@pytest.mark.parametrize("method", [each for each in OWN if each.path != EXCHANGE], ids=lambda method: method.path)
async def test_an_oversized_body_is_refused(method: Method, api: ApiNode, caplog: pytest.LogCaptureFixture) -> None:
    unknown_field = b"\xfa\x07"  # number 127, bytes
    size = REQUEST_BYTES_MAX + 1
    body = unknown_field + bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21])
    error = typed(await send(api, method, body + bytes(size)))
    assert isinstance(error, InvalidArgument)

    far_beyond = await send(api, method, bytes(8 << 20))
    assert isinstance(far_beyond, grpc.aio.AioRpcError)
    assert far_beyond.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, "gRPC refuses it unread"
    assert_no_traceback(caplog)


async def test_after_all_that_the_node_serves(api: ApiNode) -> None:
    for method in ALL:
        await send(api, method, GARBAGE["random"])
    status = await send(api, next(each for each in OWN if each.path.endswith("/Status")), b"")

    assert isinstance(status, bytes)
    assert cluster_pb2.StatusResponse.FromString(status).node_id == "n1"
