"""Real processes: a cluster that is wiped and founded again under its name refuses the tokens of the one before it."""

import binascii
import shutil
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import grpc.aio
import pytest

import replicator
from replicator.client.wire_errors import error_of
from replicator.dev import LocalCluster, plan_cluster
from replicator.model.errors import InvalidToken, ReplicatorError, TokenAhead
from replicator.model.limits import TOKEN_CHARS_MAX
from replicator.v1 import kv_pb2, kv_pb2_grpc

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

LEVELS = (replicator.CAUSAL, replicator.LINEARIZABLE, replicator.LOCAL)
WRITES = 30


async def page(address: str, page_token: str = "") -> kv_pb2.ScanResponse | ReplicatorError:
    """One pair of all, by the bare protocol: the SDK does not show page tokens."""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            request = kv_pb2.ScanRequest(page_size=1, page_token=page_token)
            answer: kv_pb2.ScanResponse = await kv_pb2_grpc.KVServiceStub(channel).Scan(request, timeout=20.0)
        except grpc.aio.AioRpcError as error:
            return error_of(error, address, is_write=False)
        return answer


def altered(page_token: str, *, revision: int | None = None, index: int | None = None) -> str:
    """The same with other numbers and a checksum that fits."""
    body = urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4))[:-4]
    head = struct.Struct(">B8sIQQ")
    version, tag, group_id, own_revision, own_index = head.unpack_from(body)
    numbers = (own_revision if revision is None else revision, own_index if index is None else index)
    body = head.pack(version, tag, group_id, *numbers) + body[head.size :]
    return urlsafe_b64encode(body + struct.pack(">I", binascii.crc32(body))).rstrip(b"=").decode()


async def test_tokens_of_the_cluster_before_are_refused_however_long_the_new_log_is(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path, ("eu", "us", "ap"))) as cluster:
        async with replicator.connect(cluster.endpoints()) as client:
            for number in range(3):
                old_token = (await client.put(b"old/%d" % number, b"v")).token
        old_page = await page(cluster.endpoints()[0])
        assert isinstance(old_page, kv_pb2.ScanResponse)
        assert old_page.next_page_token
        assert len(old_token) <= TOKEN_CHARS_MAX
        old_index = (await cluster.status(await cluster.leader())).applied_index

        for node in cluster.nodes.values():
            await node.kill9()
            shutil.rmtree(node.plan.data_dir)
        for node in cluster.nodes.values():
            node.start()

        async with replicator.connect(cluster.endpoints(), timeout_s=60.0) as client:
            for number in range(WRITES):
                token = (await client.put(b"new/%d" % number, b"v")).token
        assert (await cluster.status(await cluster.leader())).applied_index > old_index
        for endpoint in cluster.endpoints():
            async with replicator.connect([endpoint], timeout_s=20.0) as one:
                assert (await one.get(b"new/0", token=token)).value == b"v"
                for level in LEVELS:
                    with pytest.raises(InvalidToken, match="founded again") as caught:
                        await one.get(b"old/0", token=old_token, consistency=level)
                    assert caught.value.metadata["problem"] == "foreign"
                    assert not isinstance(caught.value, TokenAhead)
            refused = await page(endpoint, old_page.next_page_token)
            assert isinstance(refused, InvalidToken), refused
            assert refused.metadata["problem"] == "foreign"
            await look_at_tokens_that_are_ahead(endpoint)


async def look_at_tokens_that_are_ahead(endpoint: str) -> None:
    first = await page(endpoint)
    assert isinstance(first, kv_pb2.ScanResponse)
    genuine = first.next_page_token
    for revision, index in ((1 << 64) - 1, None), (None, (1 << 64) - 1), (WRITES + 1, None), (WRITES + 1, 0):
        refused = await page(endpoint, altered(genuine, revision=revision, index=index))
        assert isinstance(refused, TokenAhead), (revision, index, refused)
    second = await page(endpoint, altered(genuine))
    assert isinstance(second, kv_pb2.ScanResponse), second
    assert second.revision == first.revision
