"""Watch over real gRPC and through the SDK: order, parts, bounds, failover, compaction, the end of a node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

import replicator
import replicator.sync
from replicator.api.native import watch_streams
from replicator.client import watching
from replicator.client.wire_errors import error_of
from replicator.model.causal_token import CausalToken, token_scope
from replicator.model.changes import Change, ChangeBatch, ChangeKind, SnapshotPart
from replicator.model.errors import Compacted, InvalidArgument, InvalidToken, Overloaded, ReplicatorError, ShuttingDown
from replicator.model.ids import LogIndex
from replicator.model.limits import VALUE_BYTES_MAX
from replicator.model.values import KeyValue
from replicator.service.feed.hub import Hub
from replicator.service.feed.watch import WatchLimits
from replicator.v1 import kv_pb2, kv_pb2_grpc
from tests.support.api_nodes import ApiNode, an_api_server, serving
from tests.support.memory_cluster import SCOPE, MemoryCluster

PATIENCE_S = 60.0


@asynccontextmanager
async def three_nodes() -> AsyncIterator[list[ApiNode]]:
    cluster = MemoryCluster()
    for node_id, region in (("n1", "eu"), ("n2", "us"), ("n3", "ap")):
        cluster.add(node_id, region)
    async with serving(cluster) as nodes:
        yield nodes


async def batches(items: Any, *, changes: int) -> list[ChangeBatch]:
    """Until that many changes have come."""
    found: list[ChangeBatch] = []
    async with asyncio.timeout(PATIENCE_S):
        async for item in items:
            found.append(item)
            if sum(len(batch.changes) for batch in found) >= changes:
                return found
    raise AssertionError("the watch ended")


def keys(found: list[ChangeBatch]) -> list[bytes]:
    return [change.key for batch in found for change in batch.changes]


async def raw_error(api: ApiNode, **request: Any) -> ReplicatorError:
    """What a watch that asks for that ends with."""
    async with grpc.aio.insecure_channel(api.address) as channel:
        stub: Any = kv_pb2_grpc.KVServiceStub(channel)
        try:
            async with asyncio.timeout(PATIENCE_S):
                async for _ in stub.Watch(kv_pb2.WatchRequest(**request)):
                    pass
        except grpc.aio.AioRpcError as error:
            return error_of(error, api.address, is_write=False)
    raise AssertionError("the watch ended in order")


async def test_history_then_what_comes_with_all_that_is_known_of_a_change() -> None:
    async with three_nodes() as nodes, replicator.connect([nodes[1].address]) as client:
        await client.put(b"a/1", b"one")
        await client.put(b"b/1", b"other")
        async with aclosing(client.watch(prefix=b"a/", from_revision=1, with_previous=True)) as items:
            first = await batches(items, changes=1)
            await client.put(b"a/1", b"two")
            await client.delete(b"a/1")
            rest = await batches(items, changes=2)

        old = KeyValue(b"a/1", b"one", 1, 1, 1)
        new = KeyValue(b"a/1", b"two", 1, 3, 2)
        assert [change for batch in [*first, *rest] for change in batch.changes] == [
            Change(ChangeKind.PUT, b"a/1", b"one", 1, 0, 1, 1, 1000),
            Change(ChangeKind.PUT, b"a/1", b"two", 3, 0, 1, 2, 1000, old),
            Change(ChangeKind.DELETE, b"a/1", None, 4, 0, 0, 0, 1000, new),
        ]
        assert rest[-1].revision == 4


async def test_a_watch_begins_now_and_says_when_it_has() -> None:
    async with three_nodes() as nodes, replicator.connect([nodes[0].address]) as client:
        await client.put(b"k", b"old")
        async with aclosing(client.watch(key=b"k")) as items:
            mark = await anext(items)
            assert isinstance(mark, ChangeBatch)
            assert (mark.changes, mark.revision, mark.caught_up) == ((), 1, True)
            put = await client.put(b"k", b"new")
            [batch] = await batches(items, changes=1)
        assert [(change.value, change.revision) for change in batch.changes] == [(b"new", put.revision)]


async def test_any_token_says_where_to_go_on_and_a_mark_of_progress_has_one() -> None:
    async with three_nodes() as nodes, replicator.connect([nodes[0].address]) as client:
        puts = [await client.put(b"k", b"%d" % number) for number in range(3)]
        async with aclosing(client.watch(key=b"k", token=puts[0].token)) as items:
            assert [c.value for b in await batches(items, changes=2) for c in b.changes] == [b"1", b"2"]
        async with aclosing(client.watch(key=b"other", from_revision=1, progress_s=0.1)) as items:
            marks = [await anext(items) for _ in range(3)]
        assert {mark.revision for mark in marks} == {3}
        async with aclosing(client.watch(key=b"k", token=marks[-1].token)) as items:
            last = await client.put(b"k", b"last")
            [*_, batch] = await batches(items, changes=1)
        assert [change.revision for change in batch.changes] == [last.revision]
        assert (await client.get(b"k", token=batch.token)).value == b"last"


async def test_what_cannot_be_watched_is_refused_with_its_reason() -> None:
    async with three_nodes() as (api, *_):
        cases: list[tuple[dict[str, Any], type[ReplicatorError], str]] = [
            ({}, InvalidArgument, "1 to 256"),
            ({"keys": [b""]}, InvalidArgument, "key is empty"),
            ({"prefixes": [b"p"] * 257}, InvalidArgument, "1 to 256"),
            ({"ranges": [kv_pb2.KeyRange(start=b"b", end=b"a")]}, InvalidArgument, "end is not after start"),
            ({"keys": [b"k"], "progress_ms": 1}, InvalidArgument, "100 to 600000"),
            ({"keys": [b"k"], "kinds": [7]}, InvalidArgument, "kinds has 7"),
            ({"keys": [b"k"], "from_revision": 1, "token": "x"}, InvalidArgument, "begins at one of them"),
            ({"keys": [b"k"], "token": "x"}, InvalidToken, "malformed"),
            ({"keys": [b"k"], "token": CausalToken(LogIndex(1)).encode(token_scope(b"bank"))}, InvalidToken, "another"),
            ({"keys": [b"k"], "token": CausalToken(LogIndex(1)).encode(SCOPE)}, InvalidToken, "names no revision"),
        ]
        for request, error, words in cases:
            found = await raw_error(api, **request)
            assert isinstance(found, error), (request, found)
            assert words in found.message
        assert len(api.server._services.watch.hub) == 0


async def test_filters_show_what_was_asked_for() -> None:
    async with three_nodes() as nodes, replicator.connect([nodes[0].address]) as client:
        for key in (b"a", b"b/1", b"c1", b"c2", b"d"):
            await client.put(key, b"v")
        await client.delete(b"a")
        several = client.watch(key=b"a", prefix=b"b/", ranges=[(b"c2", b"d")], from_revision=1)
        async with aclosing(several) as items:
            assert keys(await batches(items, changes=4)) == [b"a", b"b/1", b"c2", b"a"]
        deletes = client.watch(prefix=b"", from_revision=1, kinds=[ChangeKind.DELETE], keys_only=True)
        async with aclosing(deletes) as items:
            [found] = await batches(items, changes=1)
        assert [(change.key, change.value) for change in found.changes] == [(b"a", None)]


async def test_the_client_goes_on_at_another_node_when_its_own_shuts_down() -> None:
    async with three_nodes() as nodes, replicator.connect([api.address for api in nodes], "us") as client:
        async with aclosing(client.watch(prefix=b"", from_revision=1)) as items:
            await client.put(b"k", b"1")
            assert keys(await batches(items, changes=1)) == [b"k"]
            assert len(nodes[1].server._services.watch.hub) == 1
            await nodes[1].server.stop(PATIENCE_S)
            put = await client.put(b"k", b"2")
            found = await batches(items, changes=1)
        assert [change.revision for batch in found for change in batch.changes] == [put.revision]


async def test_a_node_that_drains_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = asyncio.Event()
    real = Hub.wait

    async def wait(self: Hub, *given: Any) -> bool:
        joined.set()
        return await real(self, *given)

    monkeypatch.setattr(Hub, "wait", wait)
    async with three_nodes() as (api, *_):
        ended = asyncio.create_task(raw_error(api, keys=[b"k"]))
        async with asyncio.timeout(PATIENCE_S):
            await joined.wait()
        api.server.drain()
        assert isinstance(await ended, ShuttingDown)
        assert isinstance(await raw_error(api, keys=[b"k"]), ShuttingDown)


async def test_a_node_that_is_behind_waits_and_repeats_nothing() -> None:
    async with three_nodes() as (ahead, behind, _), replicator.connect([behind.address]) as client:
        behind.node.hold()
        async with replicator.connect([ahead.address]) as writer:
            puts = [await writer.put(b"k", b"%d" % number) for number in range(3)]
        future = client.watch(key=b"k", from_revision=puts[1].revision, progress_s=0.1)
        async with aclosing(future) as items:
            mark = await anext(items)
            assert isinstance(mark, ChangeBatch)
            assert (mark.changes, mark.revision, mark.token, mark.caught_up) == ((), 0, "", False)
            behind.node.heal()
            found = await batches(items, changes=2)
        assert [change.value for batch in found for change in batch.changes] == [b"1", b"2"]


async def test_forgotten_history_is_an_error_with_the_compacted_revision_or_a_snapshot() -> None:
    async with three_nodes() as nodes, replicator.connect([nodes[0].address]) as client:
        for number in range(5):
            await client.put(b"k", b"%d" % number)
        assert await client.compact(4) == 5
        with pytest.raises(Compacted) as caught:
            await anext(client.watch(key=b"k", from_revision=3))
        assert caught.value.metadata == {"revision": "3", "compacted_revision": "4"}
        with pytest.raises(Compacted):
            await client.compact(4)
        with pytest.raises(InvalidArgument):
            await client.compact(99)
        async with aclosing(client.watch(key=b"k", from_revision=4)) as items:
            assert len(await batches(items, changes=2)) == 1
        async with aclosing(client.watch(prefix=b"k", from_revision=3, resnapshot=True)) as items:
            part = await anext(items)
            assert isinstance(part, SnapshotPart)
            assert (part.is_first, part.is_last, part.revision) == (True, True, 5)
            assert [kv.value for kv in part.pairs] == [b"4"]
            put = await client.put(b"k", b"new")
            [*_, batch] = await batches(items, changes=1)
        assert batch.revision == put.revision


async def test_a_snapshot_comes_in_parts_of_one_revision_and_changes_follow_it() -> None:
    async with three_nodes() as nodes, replicator.connect([nodes[0].address]) as client:
        for number in range(4):
            await client.put(b"k%d" % number, b"x" * (VALUE_BYTES_MAX // 2))
        async with aclosing(client.watch(prefix=b"k", snapshot=True)) as items:
            parts = []
            async for part in items:
                assert isinstance(part, SnapshotPart)
                parts.append(part)
                await client.put(b"k0", b"later")
                if part.is_last:
                    break
            found = await batches(items, changes=len(parts))
        assert len(parts) > 1
        assert {part.revision for part in parts} == {4}
        assert [part.is_first for part in parts] == [True, *[False] * (len(parts) - 1)]
        assert [kv.key for part in parts for kv in part.pairs] == [b"k0", b"k1", b"k2", b"k3"]
        assert {change.value for batch in found for change in batch.changes} == {b"later"}
        with pytest.raises(InvalidArgument, match="one key, prefix or range"):
            await anext(client.watch(keys=[b"a", b"b"], snapshot=True))


async def test_watches_are_bounded_with_a_reason() -> None:
    node = MemoryCluster().add("n1", "eu")
    for limits, words in ((WatchLimits(1, 9), "watches_max"), (WatchLimits(9, 1), "from your address")):
        server = an_api_server(node, watch_limits=limits)
        await server.start()
        api = ApiNode(node, f"127.0.0.1:{server.bound_port}", server, None)  # type: ignore[arg-type]
        try:
            async with replicator.connect([api.address]) as client, aclosing(client.watch(key=b"k")) as items:
                await anext(items)
                found = await raw_error(api, keys=[b"k"])
                assert isinstance(found, Overloaded)
                assert words in found.message
        finally:
            await server.stop(0.0)


async def test_a_reader_that_stops_holds_one_message_and_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by what is held for it: one message, however much is written, and none is made ahead."""
    made = 0
    real = watch_streams.encoded

    def counting(*given: Any) -> bytes:
        nonlocal made
        made += 1
        return real(*given)

    monkeypatch.setattr(watch_streams, "encoded", counting)
    async with three_nodes() as (api, *_), replicator.connect([api.address]) as client:
        unread = api.server._unread
        async with grpc.aio.insecure_channel(api.address, options=(("grpc.http2.bdp_probe", 0),)) as channel:
            stub: Any = kv_pb2_grpc.KVServiceStub(channel)
            call = stub.Watch(kv_pb2.WatchRequest(prefixes=[b"slow/"], from_revision=1))
            await call.read()
            for number in range(40):
                await client.put(b"slow/%d" % number, b"x" * (VALUE_BYTES_MAX // 2))
            async with aclosing(client.watch(key=b"fast")) as items:
                await anext(items)
                put = await client.put(b"fast", b"v")
                [batch] = await batches(items, changes=1)
                assert batch.revision == put.revision
            assert made < 20, "the messages for the slow one are not made ahead"
            assert unread.size_bytes < 8 * VALUE_BYTES_MAX
            seen: list[int] = []
            async with asyncio.timeout(PATIENCE_S):
                while len(seen) < 40:
                    seen += [change.revision for change in (await call.read()).changes]
            assert seen == sorted(set(seen)) == list(range(1, 41))


async def test_a_node_that_contradicts_itself_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with three_nodes() as (api, *_), replicator.connect([api.address]) as client:
        await client.put(b"k", b"1")
        real = watch_streams.encoded

        def twice(*given: Any) -> bytes:
            answer = kv_pb2.WatchResponse.FromString(real(*given))
            answer.changes.extend(list(answer.changes))
            return answer.SerializeToString()

        monkeypatch.setattr(watch_streams, "encoded", twice)
        with pytest.raises(replicator.Internal, match=r"1\.0 of kind 1 came after 1\.0"):
            await batches(client.watch(key=b"k", from_revision=1), changes=1)


async def test_a_silent_node_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SILENT_S_MIN", 0.2)
    async with three_nodes() as nodes, replicator.connect([api.address for api in nodes], "us") as client:
        silent = True
        real = watch_streams.WatchStreams.serve

        async def serve(self: watch_streams.WatchStreams, request: Any, context: Any) -> None:
            if silent and self is nodes[1].server._watches:
                await asyncio.Event().wait()
            await real(self, request, context)

        monkeypatch.setattr(watch_streams.WatchStreams, "serve", serve)
        await client.put(b"k", b"1")
        assert keys(await batches(client.watch(key=b"k", from_revision=1, progress_s=0.2), changes=1)) == [b"k"]


async def test_without_async_the_same_changes_come() -> None:
    async with three_nodes() as nodes:

        def follow() -> list[bytes]:
            found: list[bytes] = []
            with replicator.sync.connect([nodes[0].address]) as client:
                for number in range(3):
                    client.put(b"k%d" % number, b"v")
                items = client.watch(prefix=b"k", from_revision=1)
                for item in items:
                    assert isinstance(item, ChangeBatch)
                    found += [change.key for change in item.changes]
                    if len(found) == 3:
                        break
                items.close()
                assert client.compact(2) == 3
            return found

        assert await asyncio.to_thread(follow) == [b"k0", b"k1", b"k2"]
