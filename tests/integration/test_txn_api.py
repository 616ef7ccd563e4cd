"""Transactions over real gRPC: unary and in batches, with typed errors at each edge, once for each call."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

import replicator
import replicator.sync
from replicator import Delete, Get, If, Put, Range, Transaction
from replicator.client.wire_errors import error_of
from replicator.model.errors import InvalidArgument, WriteIdReused
from replicator.model.limits import SCAN_PAGE_BYTES_MAX
from replicator.v1 import kv_pb2, kv_pb2_grpc
from tests.support.api_nodes import ApiNode, serving
from tests.support.commands import by
from tests.support.memory_cluster import MemoryCluster


@pytest.fixture
async def api() -> AsyncIterator[ApiNode]:
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    async with serving(cluster) as (node,):
        yield node


@pytest.fixture
async def client(api: ApiNode) -> AsyncIterator[replicator.Client]:
    async with replicator.connect([api.address], "eu") as connected:
        yield connected


@pytest.fixture
async def stub(api: ApiNode) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(api.address) as channel:
        yield kv_pb2_grpc.KVServiceStub(channel)


async def test_the_sdk_gets_typed_results_of_the_branch_that_ran(client: replicator.Client) -> None:
    put = await client.put(b"stock/lamp", b"1")
    done = await client.txn(
        [If.value(b"stock/lamp") == b"1", If.missing(Range.of_prefix(b"order/"))],
        [
            Put(b"order/7", b"lamp"),
            Delete(b"stock/lamp", previous=True),
            Get(Range.of_prefix(b"order/"), limit=1),
            Transaction([If.exists(b"none")], [], [Get(b"none"), Put(b"seen", b"", previous=True)]),
        ],
        [Get(b"stock/lamp")],
    )
    ordered, taken, listed, nested = done.results
    assert (done.succeeded, done.revision, done.duplicate) == (True, put.revision + 1, False)
    assert ordered == replicator.PutDone(existed=False, previous=None)
    assert isinstance(taken, replicator.DeleteDone)
    assert (taken.count, taken.previous[0].value, taken.previous[0].mod_revision) == (1, b"1", put.revision)
    assert isinstance(listed, replicator.GetDone)
    assert (listed.value, listed.pairs[0].mod_revision, listed.more) == (b"lamp", done.revision, False)
    assert nested == replicator.BranchDone(False, (replicator.GetDone((), 0, False), replicator.PutDone(False, None)))
    assert (await client.get(b"order/7", token=done.token)).value == b"lamp"

    other = await client.txn([If.exists(b"stock/lamp")], [Put(b"x", b"")], [Get(b"order/7", keys_only=True)])
    assert (other.succeeded, other.revision) == (False, done.revision)


async def test_calls_at_the_same_time_share_batches_with_other_writes(api: ApiNode, client: replicator.Client) -> None:
    async def write(number: int) -> int:
        if number % 2:
            return (await client.put(b"p%d" % number, b"")).revision
        return (await client.txn(then=[Put(b"t%d" % number, b""), Get(b"p1")])).revision

    revisions = await asyncio.gather(*(write(number) for number in range(200)))
    assert sorted(revisions) == list(range(1, 201))
    assert len(api.disturbance.requests) < 50


async def test_a_lost_reply_is_answered_with_the_first_result(api: ApiNode, client: replicator.Client) -> None:
    await client.put(b"n", b"1")
    api.disturbance.lose_replies(1, "WriteBatch")
    done = await client.txn([If.value(b"n") == b"1"], [Put(b"n", b"2", previous=True)], [Get(b"n")])
    assert (done.succeeded, done.duplicate, done.revision) == (True, True, 2)
    assert done.results[0].previous.value == b"1"  # type: ignore[union-attr]


async def test_a_unary_call_is_answered_once_by_its_write_id(stub: Any) -> None:
    put = kv_pb2.Operation(put=kv_pb2.PutOperation(key=b"k", value=b"v", previous=True))
    write_id = by(1, 1, issued_ms=1)
    request = kv_pb2.TxnRequest(transaction=kv_pb2.Transaction(then=[put]), write_id=write_id)
    first, again = await stub.Txn(request), await stub.Txn(request)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert (first.result, first.revision, first.token) == (again.result, again.revision, again.token)
    request.transaction.then[0].put.value = b"w"
    _, error = await raw_error(stub.Txn(request))
    assert type(error) is WriteIdReused
    del request.transaction.then[:]
    request.ClearField("write_id")
    empty = await stub.Txn(request)
    assert (empty.result.succeeded, empty.revision, len(empty.result.results)) == (True, 1, 0)


async def raw_error(call: Any) -> tuple[grpc.StatusCode, Exception]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), error_of(caught.value, "node", is_write=True)


@pytest.mark.parametrize(
    ("transaction", "field", "said"),
    [
        (kv_pb2.Transaction(then=[kv_pb2.Operation()]), "then[0]", "is no operation that this release knows"),
        (kv_pb2.Transaction(or_else=[kv_pb2.Operation(get=kv_pb2.GetOperation())]), "or_else[0].get", "neither a key"),
        (kv_pb2.Transaction(compare=[kv_pb2.Compare(key=b"k", relation=kv_pb2.Compare.RELATION_LESS)]),
         "compare[0].target", "is missing"),
        (kv_pb2.Transaction(compare=[kv_pb2.Compare(key=b"k", target=5, relation=1)]),  # type: ignore[arg-type]
         "compare[0].target", "is 5, which this release does not know"),
        (kv_pb2.Transaction(then=[kv_pb2.Operation(put=kv_pb2.PutOperation())]), "then[0].put.key", "has 0 bytes"),
    ],
)  # fmt: skip
async def test_a_raw_caller_is_told_the_field_at_fault(
    stub: Any, transaction: kv_pb2.Transaction, field: str, said: str
) -> None:
    code, error = await raw_error(stub.Txn(kv_pb2.TxnRequest(transaction=transaction)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error, InvalidArgument)
    assert error.metadata["field"] == field
    assert said in error.message


TEXT: Any = "k"
NONE: Any = None
LARGE = b"x" * (700 << 10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], [Put(b"k", b""), Put(b"k", b"")]), "then[1].put.key is a duplicate: then[0].put.key puts the same key"),
        (([], [Put(b"", b"")]), "then[0].put.key has 0 bytes"),
        (([], [Delete(Range(b"a")), Put(b"k", b"")]), "then[1].put.key is a duplicate: another operation of the same"),
        (([], [Delete(Range(b"b", b"a"))]), "then[0].delete.range.end is not after start"),
        (([], [Get(b"k")] * 1025), "transaction has 1025 operations or more, the limit is 1024"),
        (([], [Put(b"a", LARGE), Put(b"b", LARGE), Put(b"c", LARGE)]), "the limit is 1572864 (1.5 MiB)"),
        (([], [Get(Range(b""))]), "its results hold more than 1572864 bytes (1.5 MiB)"),
    ],
)
async def test_a_caller_of_the_sdk_is_told_what_is_wrong_and_others_of_its_batch_are_served(
    client: replicator.Client, arguments: tuple[Any, Any], said: str
) -> None:
    await client.put(b"large/1", b"x" * SCAN_PAGE_BYTES_MAX)
    await client.put(b"large/2", b"x" * SCAN_PAGE_BYTES_MAX)
    refused, put, done = await asyncio.gather(
        client.txn(*arguments), client.put(b"a", b"1"), client.txn(then=[Put(b"b", b"2")]), return_exceptions=True
    )
    assert type(refused) is InvalidArgument, refused
    assert said in refused.message
    assert isinstance(put, replicator.PutResult)
    assert isinstance(done, replicator.TxnResult)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("text",), "compare"),
        (([b"k"],), "compare[0]"),
        (([If.value(b"k") == 1],), "compare[0].operand"),
        (([If.version(b"k") == b"1"],), "compare[0].operand"),
        (([If.version(b"k") == 1 << 63],), "compare[0].operand"),
        (([If.exists(TEXT)],), "compare[0].keys"),
        (([], [If.exists(b"k")]), "then[0]"),
        (([], [Put(b"k", NONE)]), "then[0].value"),
        (([], [], [Get(b"k", limit=-1)]), "or_else[0].limit"),
        (([], [Transaction(then=[Delete(NONE)])]), "then[0].then[0].keys"),
        (([], Put(b"k", b"")), "then"),
    ],
)
async def test_a_value_of_a_wrong_type_is_refused_before_anything_is_sent(
    api: ApiNode, client: replicator.Client, arguments: Any, field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await client.txn(*arguments)
    assert caught.value.metadata["field"] == field
    assert api.disturbance.requests == []


async def test_transactions_that_read_much_are_sent_again_until_each_has_room(client: replicator.Client) -> None:
    """What one batch may return is less than they read together: nobody is refused for that."""
    await client.put(b"k", b"x" * (600 << 10))
    done = await asyncio.gather(*(client.txn(then=[Get(b"k"), Put(b"by/%d" % n, b"")]) for n in range(12)))
    assert sorted(each.revision for each in done) == list(range(2, 14))


def test_a_comparison_is_no_condition_of_this_process() -> None:
    with pytest.raises(TypeError, match="the cluster evaluates"):
        assert 1 < If.version(b"k") < 5
    with pytest.raises(TypeError, match="unhashable"):
        {If.value(b"k")}


async def test_a_session_moves_on_by_a_transaction_and_threads_have_the_same_call(
    api: ApiNode, client: replicator.Client
) -> None:
    session = client.session()
    done = await session.txn(then=[Put(b"k", b"1")])
    assert session.token == done.token

    def in_a_thread() -> tuple[bool, bool]:
        with replicator.sync.connect([api.address]) as other:
            first = other.txn([If.value(b"k") == b"1"], [Put(b"k", b"2")])
            return first.succeeded, other.session().txn([If.value(b"k") == b"1"]).succeeded

    assert await asyncio.to_thread(in_a_thread) == (True, False)
