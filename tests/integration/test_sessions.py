"""Sessions over real connections: on any node, reads see what the session has seen, and what its callers have."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import httpx

import replicator
import replicator.sync
from replicator.propagation import AsgiMiddleware, carried, httpx_async_hooks
from tests.support.api_nodes import ApiNode, serving
from tests.support.memory_cluster import MemoryCluster

PATIENCE_S = 60.0
T = TypeVar("T")


@asynccontextmanager
async def two_regions() -> AsyncIterator[tuple[ApiNode, replicator.Client, replicator.Client]]:
    """The node of `ap`, which applies nothing until it heals; a client that knows only `eu`, one that knows `ap`."""
    cluster = MemoryCluster()
    for node_id, region in (("n1", "eu"), ("n2", "ap")):
        cluster.add(node_id, region)
    async with serving(cluster) as (eu_api, ap_api), AsyncExitStack() as stack:
        eu = await stack.enter_async_context(replicator.connect(eu_api.address, timeout_s=PATIENCE_S))
        ap = await stack.enter_async_context(replicator.connect(ap_api.address, "ap", timeout_s=PATIENCE_S))
        await eu.put(b"k", b"old")
        ap_api.node.hold()
        yield ap_api, eu, ap


async def after_healing(late: ApiNode, call: Awaitable[T]) -> T:
    """What a call answers that has to wait for the node: it is under way before the node heals."""
    waiting = asyncio.ensure_future(call)
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done, "it did not wait for the node"
    late.node.heal()
    return await waiting


async def test_a_session_reads_its_writes_in_another_region() -> None:
    async with two_regions() as (late, eu, ap):
        written = eu.session()
        await written.put(b"k", b"new")
        assert written.token is not None
        assert (await ap.get(b"k")).value == b"old", "without a token, whatever the node has"
        got = await after_healing(late, ap.session(written.token).get(b"k"))
        assert (got.value, got.region) == (b"new", "ap")


async def test_what_it_has_read_is_never_taken_back() -> None:
    async with two_regions() as (late, eu, ap):
        await eu.put(b"k", b"new")
        reading = eu.session()
        assert (await reading.get(b"k", consistency=replicator.LINEARIZABLE)).value == b"new"
        other = ap.session()
        assert reading.token is not None
        other.observe(reading.token)
        pairs = await after_healing(late, first_page(other))
        assert [(kv.key, kv.value) for kv in pairs] == [(b"k", b"new")]


async def first_page(session: replicator.Session) -> tuple[replicator.KeyValue, ...]:
    async for page in session.scan_pages():
        return tuple(page.pairs)
    raise AssertionError("a scan has at least one page")


async def test_every_reply_moves_it_on_also_one_that_lost() -> None:
    async with two_regions() as (_, eu, _ap):
        session = eu.session()
        seen = [session.token]
        lost = await session.compare_and_set(b"k", b"x", if_revision=99)
        assert not lost.succeeded
        seen.append(session.token)
        await session.delete(b"k")
        seen.append(session.token)
        async for _ in session.scan():
            raise AssertionError("nothing is left")
        assert seen[0] is None
        assert None not in seen[1:]
        assert len(set(seen)) == 3
        assert session.token == seen[-1]


async def test_a_service_that_is_called_reads_what_its_caller_wrote() -> None:
    """Two services in two regions: neither passes a token by hand."""
    async with two_regions() as (late, eu, ap):

        async def prices(scope: Any, receive: Any, send: Any) -> None:
            got = await ap.session().get(b"k")
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": got.value or b""})

        async def shop() -> str:
            await eu.session().put(b"k", b"new")
            transport = httpx.ASGITransport(AsgiMiddleware(prices))
            async with httpx.AsyncClient(transport=transport, event_hooks=httpx_async_hooks()) as web:
                return (await web.get("http://prices/", timeout=PATIENCE_S)).text

        with carried() as request:
            assert await after_healing(late, shop()) == "new"
            assert request.token is not None


async def test_threads_have_sessions_too() -> None:
    async with two_regions() as (late, eu, _):
        token = (await eu.put(b"k", b"new")).token
        late.node.heal()

        def use() -> tuple[bytes | None, int, list[int], str | None]:
            with replicator.sync.connect([late.address], timeout_s=PATIENCE_S) as client:
                session = client.session(token)
                got = session.get(b"k").value
                put = session.put(b"k2", b"v").revision
                lost = session.compare_and_set(b"k2", b"w", if_revision=0)
                assert not lost.succeeded
                session.delete(b"k2")
                pages = [len(page.pairs) for page in session.scan_pages()]
                assert [kv.value for kv in session.scan()] == [b"new"]
                return got, put, pages, session.token

        got, put, pages, last = await asyncio.to_thread(use)
        assert (got, put, pages) == (b"new", 3, [1])
        assert last not in (None, token)
