"""`scan_pages` of the SDK: what all pages must have in common is checked, whatever a node answers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

import replicator
from replicator.v1 import kv_pb2


def scans(revisions: Sequence[int]) -> grpc.GenericRpcHandler:
    """A node that answers a scan with one pair a page; a page token is the position of the next page."""

    async def scan(request: kv_pb2.ScanRequest, _context: object) -> kv_pb2.ScanResponse:
        position = int(request.page_token or 0)
        return kv_pb2.ScanResponse(
            kvs=[kv_pb2.KeyValue(key=b"%d" % position, value=b"v", create_revision=1, mod_revision=1, version=1)],
            next_page_token=str(position + 1) if position + 1 < len(revisions) else "",
            revision=revisions[position],
            token="t",
        )

    handler = grpc.unary_unary_rpc_method_handler(
        scan,
        request_deserializer=kv_pb2.ScanRequest.FromString,
        response_serializer=kv_pb2.ScanResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler("replicator.v1.KVService", {"Scan": handler})


@asynccontextmanager
async def client_of(revisions: Sequence[int]) -> AsyncIterator[replicator.Client]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((scans(revisions),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with replicator.connect([f"127.0.0.1:{port}"]) as client:
            yield client
    finally:
        await server.stop(None)


async def test_each_page_carries_the_revision_that_all_show() -> None:
    async with client_of([7, 7, 7]) as client:
        pages = [page async for page in client.scan_pages()]
        assert [(page.revision, page.token, page.pairs[0].key) for page in pages] == [
            (7, "t", b"0"), (7, "t", b"1"), (7, "t", b"2"),
        ]  # fmt: skip
        assert [kv.key async for kv in client.scan()] == [b"0", b"1", b"2"]


async def test_a_page_of_another_revision_is_an_error_not_a_pair() -> None:
    async with client_of([7, 7, 8]) as client:
        found = client.scan()
        assert [(await anext(found)).key for _ in range(2)] == [b"0", b"1"]
        with pytest.raises(replicator.Internal, match="a page shows revision 8 of a scan of revision 7"):
            await anext(found)
