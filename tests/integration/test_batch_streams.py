"""Exchange over real gRPC, as any other language would use it: answers, refusals, bounds, and how a stream ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from replicator.api.native.batch_stream import STREAM_BATCHES_MAX, STREAM_BYTES_MAX
from replicator.client.wire_errors import error_of, error_of_status
from replicator.model.causal_token import CausalToken
from replicator.model.errors import (
    InvalidArgument,
    NoLeader,
    OutcomeUnknown,
    Overloaded,
    ReplicatorError,
    TokenAhead,
)
from replicator.model.ids import LogIndex
from replicator.model.limits import (
    BATCH_OPERATIONS_MAX,
    FOUND_BYTES_MAX,
    KEY_BYTES_MAX,
    REQUEST_BYTES_MAX,
    VALUE_BYTES_MAX,
)
from replicator.v1 import kv_pb2, kv_pb2_grpc
from tests.support.api_nodes import ApiNode, serving
from tests.support.memory_cluster import SCOPE, MemoryCluster

PUT, DELETE, COMPARE = kv_pb2.WRITE_KIND_PUT, kv_pb2.WRITE_KIND_DELETE, kv_pb2.WRITE_KIND_COMPARE_AND_SET
CLIENT = b"c" * 16
NAME: dict[str, Any] = {"client_id": CLIENT, "issued_ms": 1}
LAST = (1 << 64) - 1
PATIENCE_S = 60.0


class Talk:
    """One stream, and the answers by id as they come."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.first: kv_pb2.BatchResponses | None = None
        self.answers: dict[int, kv_pb2.BatchResponse] = {}

    async def say(self, *batches: kv_pb2.BatchRequest, cancelled: tuple[int, ...] = ()) -> None:
        await self.call.write(kv_pb2.BatchRequests(batches=batches, cancelled=cancelled))

    async def answer(self, number: int) -> kv_pb2.BatchResponse:
        async with asyncio.timeout(PATIENCE_S):
            while number not in self.answers:
                message = await self.call.read()
                assert message is not grpc.aio.EOF, f"the stream ended without an answer to {number}"
                self.first = self.first or message
                self.answers.update({answer.id: answer for answer in message.batches})
        return self.answers[number]

    async def ask(self, batch: kv_pb2.BatchRequest) -> kv_pb2.BatchResponse:
        await self.say(batch)
        return await self.answer(batch.id)

    async def error(self, batch: kv_pb2.BatchRequest) -> ReplicatorError:
        answer = await self.ask(batch)
        assert answer.WhichOneof("result") == "error", answer
        return error_of_status(answer.error, "node", is_write=True)


def a_write(number: int, *keys: bytes, value: bytes = b"v", **columns: Any) -> kv_pb2.BatchRequest:
    write = kv_pb2.WriteBatch(**({"keys": keys, "values": [value] * len(keys)} | columns))
    return kv_pb2.BatchRequest(id=number, write=write)


def a_read(number: int, *keys: bytes, options: kv_pb2.ReadOptions | None = None) -> kv_pb2.BatchRequest:
    return kv_pb2.BatchRequest(id=number, read=kv_pb2.ReadBatch(keys=keys, options=options))


@pytest.fixture
async def api() -> AsyncIterator[ApiNode]:
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    async with serving(cluster) as (node,):
        yield node


@asynccontextmanager
async def talking(api: ApiNode) -> AsyncIterator[Talk]:
    async with grpc.aio.insecure_channel(api.address) as channel:
        stub: Any = kv_pb2_grpc.KVServiceStub(channel)
        yield Talk(stub.Exchange())


async def test_writes_and_reads_are_answered_in_columns_and_the_stream_names_its_node_once(api: ApiNode) -> None:
    async with talking(api) as talk:
        put = (await talk.ask(a_write(1, b"a", b"b"))).written
        mixed = (
            await talk.ask(
                a_write(
                    2, b"a", b"none", b"b", b"a", b"c",
                    kinds=[COMPARE, DELETE, COMPARE, DELETE, PUT], values=[b"v"] * 3, expected_revisions=[9, 2],
                )
            )
        ).written  # fmt: skip
        read = (await talk.ask(a_read(3, b"a", b"b", b"c"))).read

        assert talk.first is not None
        assert (talk.first.node_id, talk.first.region) == ("n1", "eu")
        assert (list(put.revisions), list(put.unchanged), list(put.found)) == ([1, 2], [], [])
        assert list(mixed.revisions) == [2, 2, 3, 4, 5]
        assert list(mixed.unchanged) == [0, 1]
        assert [(found.position, found.pair.value, found.pair.mod_revision) for found in mixed.found] == [(0, b"v", 1)]
        assert CausalToken.decode(mixed.token, SCOPE).index == api.node.applied_index
        assert list(read.mod_revisions) == [0, 3, 5]
        assert list(read.create_revisions) == [0, 2, 5]
        assert list(read.versions) == [0, 2, 1]
        assert list(read.values) == [b"", b"v", b"v"]
        assert (read.revision, read.token) == (5, mixed.token)


async def test_a_batch_sent_again_under_its_name_is_applied_once_and_answered_alike(api: ApiNode) -> None:
    name: dict[str, Any] = {**NAME, "first_sequence": 1, "oldest_pending": 1}
    async with talking(api) as talk:
        first = await talk.ask(a_write(1, b"a", b"b", b"a", **name))
    async with talking(api) as talk:
        again = await talk.ask(a_write(2, b"a", b"b", b"a", **name))
    assert (again.written.revisions, api.node.replica.revision) == (first.written.revisions, 3)


async def test_a_batch_of_linearizable_reads_asks_the_leader_once(api: ApiNode) -> None:
    options = kv_pb2.ReadOptions(consistency=kv_pb2.CONSISTENCY_LINEARIZABLE)
    async with talking(api) as talk:
        await talk.ask(a_read(1, *(b"%d" % number for number in range(100)), options=options))
    assert api.node.read_indexes == 1


async def test_a_slow_batch_holds_up_no_other_one(api: ApiNode) -> None:
    api.node.hold()
    ahead = CausalToken(api.node.cluster.commit(b"")).encode(SCOPE)
    async with talking(api) as talk:
        await talk.say(a_read(1, b"k", options=kv_pb2.ReadOptions(token=ahead)))
        await talk.ask(a_read(2, b"k"))
        assert set(talk.answers) == {2}
        api.node.heal()
        covered = CausalToken.read((await talk.answer(1)).read.token)[1]
        assert covered.index == CausalToken.read(ahead)[1].index


@pytest.mark.parametrize(
    ("batch", "field", "position"),
    [
        (kv_pb2.BatchRequest(id=1), "batch", None),
        (a_write(1), "keys", None),
        (a_read(1), "keys", None),
        (a_write(1, *[b"k"] * (BATCH_OPERATIONS_MAX + 1)), "keys", None),
        (a_read(1, *[b"k"] * (BATCH_OPERATIONS_MAX + 1)), "keys", None),
        (a_write(1, b"a", b"", b"c"), "key", "1"),
        (a_read(1, b"a", b"k" * (KEY_BYTES_MAX + 1)), "key", "1"),
        (a_write(1, b"a", b"b", values=[b"v", bytes(VALUE_BYTES_MAX + 1)]), "value", "1"),
        (a_write(1, b"a", b"b", values=[b"v"]), "values", None),
        (a_write(1, b"a", b"b", kinds=[PUT]), "kinds", None),
        (a_write(1, b"a", b"b", expected_revisions=[1]), "expected_revisions", None),
        (a_write(1, b"a", b"b", kinds=[PUT, 7]), "kinds", "1"),
        (a_write(1, b"a", b"b", kinds=[PUT, DELETE]), "values", None),
        (a_write(1, b"a", b"b", kinds=[PUT, COMPARE]), "expected_revisions", None),
        (a_write(1, b"a", b"b", kinds=[DELETE, PUT], values=[bytes(VALUE_BYTES_MAX + 1)]), "value", "1"),
        (a_write(1, b"a", b"b", **NAME, first_sequence=LAST, oldest_pending=LAST), "first_sequence", None),
        (
            a_write(1, b"a", client_id=b"short", issued_ms=1, first_sequence=1, oldest_pending=1),
            "write_id.client_id",
            None,
        ),
        (a_write(1, b"a", **NAME), "write_id.sequence", None),
        (a_write(1, b"a", **NAME, first_sequence=1, oldest_pending=2), "write_id.oldest_pending", None),
        (a_write(1, b"a", first_sequence=1, oldest_pending=1), "write_id.client_id", None),
        (a_write(1, b"a", **NAME, first_sequence=LAST, oldest_pending=1), "write_id.sequence", None),
        (a_write(1, *[b"k"] * 2, value=bytes(VALUE_BYTES_MAX)), "request", None),
    ],
)
async def test_a_batch_that_is_wrong_is_refused_alone_and_names_what_is(
    batch: kv_pb2.BatchRequest, field: str, position: str | None, api: ApiNode, caplog: pytest.LogCaptureFixture
) -> None:
    async with talking(api) as talk:
        error = await talk.error(batch)
        assert type(error) is InvalidArgument
        assert (error.metadata["field"], error.metadata.get("position")) == (field, position)
        assert (await talk.ask(a_write(2, b"k"))).written.revisions == [1]
    assert [record for record in caplog.records if record.exc_info] == []


async def test_one_message_with_far_too_many_batches_is_worked_off_within_the_bound(api: ApiNode) -> None:
    most = 0

    async def count(name: str, request: Any, context: Any) -> None:
        nonlocal most
        [stream] = api.server._streams._open  # type: ignore[union-attr]
        most = max(most, len(stream._under_way))

    api.disturbance.before = count
    async with talking(api) as talk:
        await talk.say(*(a_read(number, b"k") for number in range(1, 1000)))
        for number in range(1, 1000):
            await talk.answer(number)
    assert 1 < most <= STREAM_BATCHES_MAX


async def test_an_oversized_batch_of_unknown_fields_is_refused(api: ApiNode) -> None:
    padding = b"\xfa\x3f" + b"\x80\x80\x68" + bytes(13 << 17)  # 1.6 MiB
    padded = kv_pb2.BatchRequest.FromString(a_write(1, b"k").SerializeToString() + padding)
    assert padded.ByteSize() > REQUEST_BYTES_MAX
    async with talking(api) as talk:
        assert (await talk.error(padded)).metadata["field"] == "request"


async def test_an_id_that_is_under_way_already_ends_the_stream(api: ApiNode) -> None:
    async with talking(api) as talk:
        await talk.say(a_read(1, b"k"), a_read(1, b"k"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await talk.answer(2)
        assert error_of(caught.value, "node", is_write=False).metadata == {"field": "id"}


async def test_errors_of_the_group_are_those_of_unary_calls(api: ApiNode) -> None:
    """A batch is one proposal: all of it happened, nothing of it did, or nobody knows."""
    async with talking(api) as talk:
        api.node.raises.append(NoLeader("an election", retry_after_s=0.5))
        nothing = await talk.error(a_write(1, b"a", b"b"))
        api.node.raises.append(OutcomeUnknown("a link fell"))
        unknown = await talk.error(a_write(2, b"a", b"b"))
        assert (type(nothing), nothing.retry_after_s) == (NoLeader, 0.5)
        assert type(unknown) is OutcomeUnknown

        expired = await talk.error(a_write(3, b"a", **NAME, first_sequence=9, oldest_pending=9))
        assert expired.reason == "SESSION_EXPIRED"


async def test_what_lost_comparisons_found_is_bounded_and_the_rest_may_be_sent_again(api: ApiNode) -> None:
    size = FOUND_BYTES_MAX // 2 + 1
    async with talking(api) as talk:
        await talk.ask(a_write(1, b"a", value=bytes(size)))
        lost = (await talk.ask(a_write(2, *[b"a"] * 3, kinds=[COMPARE] * 3, expected_revisions=[9] * 3))).written
        assert [found.position for found in lost.found] == [0]
        assert [refusal.position for refusal in lost.errors] == [1, 2]
        assert type(error_of_status(lost.errors[0].error, "node", is_write=True)) is Overloaded


async def test_an_answer_holds_as_many_values_as_fit_and_at_least_one(api: ApiNode) -> None:
    async with talking(api) as talk:
        await talk.ask(a_write(1, b"a", value=bytes(VALUE_BYTES_MAX)))
        await talk.ask(a_write(2, b"b", value=b"small"))
        read = (await talk.ask(a_read(3, b"b", b"none", b"a", b"a"))).read
        alone = (await talk.ask(a_read(4, b"a", b"a"))).read
        assert (list(read.mod_revisions), len(alone.mod_revisions)) == ([2, 0], 1)


async def test_a_token_in_the_metadata_of_a_batch_counts_when_the_field_is_empty(api: ApiNode) -> None:
    ahead = a_read(1, b"k")
    ahead.metadata["x-causal-token"] = CausalToken(LogIndex(99)).encode(SCOPE)
    async with talking(api) as talk:
        assert type(await talk.error(ahead)) is TokenAhead


async def test_a_cancelled_batch_ends_on_the_server_and_gets_no_answer(api: ApiNode) -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def wait(name: str, request: Any, context: Any) -> None:
        if request.id == 1:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    api.disturbance.before = wait
    async with talking(api) as talk:
        await talk.say(a_write(1, b"k"))
        await entered.wait()
        await talk.say(cancelled=(1, 77))
        await asyncio.wait_for(ended.wait(), PATIENCE_S)
        assert (await talk.ask(a_write(2, b"k"))).written.revisions == [1]
        assert set(talk.answers) == {2}


async def test_a_stream_that_its_client_leaves_ends_its_batches(api: ApiNode, caplog: pytest.LogCaptureFixture) -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def wait(name: str, request: Any, context: Any) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    api.disturbance.before = wait
    async with talking(api) as talk:
        await talk.say(a_write(1, b"k"))
        await entered.wait()
        talk.call.cancel()
        await asyncio.wait_for(ended.wait(), PATIENCE_S)
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_batch_has_its_own_deadline(api: ApiNode) -> None:
    api.node.hold()
    ahead = a_read(1, b"k", options=kv_pb2.ReadOptions(token=CausalToken(api.node.cluster.commit(b"")).encode(SCOPE)))
    ahead.timeout_ms = 100
    async with talking(api) as talk:
        assert (await talk.error(ahead)).reason == "REPLICA_BEHIND"


async def test_batches_beyond_the_limit_of_calls_are_refused_and_the_stream_goes_on() -> None:
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    go_on = asyncio.Event()

    async def wait(name: str, request: Any, context: Any) -> None:
        await go_on.wait()

    async with serving(cluster, calls_in_flight_max=2) as (api,), talking(api) as talk:
        api.disturbance.before = wait
        await talk.say(a_read(1, b"k"), a_read(2, b"k"))
        error = await talk.error(a_read(3, b"k"))
        assert type(error) is Overloaded
        assert error.retry_after_s is not None
        go_on.set()
        await talk.answer(1)
        await talk.answer(2)


async def test_a_draining_node_answers_what_it_has_read_and_then_ends_the_stream_with_ok(api: ApiNode) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def wait(name: str, request: Any, context: Any) -> None:
        entered.set()
        await go_on.wait()

    api.disturbance.before = wait
    async with talking(api) as talk:
        await talk.say(a_write(1, b"k"))
        await entered.wait()
        stopping = asyncio.create_task(api.server.stop(PATIENCE_S))
        await asyncio.sleep(0)
        await talk.say(a_write(2, b"k"))
        go_on.set()
        assert (await talk.answer(1)).written.revisions == [1]
        assert await talk.call.read() is grpc.aio.EOF
        assert await talk.call.code() is grpc.StatusCode.OK
        await stopping
    assert api.node.replica.revision == 1, "what was not read did not happen"


async def test_a_drained_node_takes_no_stream(api: ApiNode) -> None:
    api.server.drain()
    async with talking(api) as talk:
        message = await talk.call.read()
        assert message.node_id == "n1"
        assert await talk.call.read() is grpc.aio.EOF


async def test_a_client_that_takes_no_answers_stops_itself_and_holds_a_bounded_amount_of_memory(api: ApiNode) -> None:
    """It asks for far more than it reads. The node stops reading its requests."""
    async with talking(api) as talk:
        await talk.ask(a_write(1, b"k", value=bytes(VALUE_BYTES_MAX)))
        served = 0

        async def count(name: str, request: Any, context: Any) -> None:
            nonlocal served
            served += 1

        api.disturbance.before = count

        async def flood() -> None:
            for number in range(2, 10_000):
                await talk.say(a_read(number, b"k"))

        flooding = asyncio.create_task(flood())
        try:
            seen = -1
            while served != seen:  # until it stands still
                seen = served
                await asyncio.sleep(0.5)
            [stream] = api.server._streams._open  # type: ignore[union-attr]
            bound = STREAM_BYTES_MAX + (STREAM_BATCHES_MAX + 1) * (VALUE_BYTES_MAX + 1024)
            assert served < 300
            assert stream._held_bytes <= bound
            async with talking(api) as other:
                assert (await other.ask(a_read(1, b"none"))).read.mod_revisions == [0]
        finally:
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
