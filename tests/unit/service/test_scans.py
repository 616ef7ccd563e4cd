"""Scans: all pages show one revision, on whichever node they are read."""

import asyncio

import pytest

from replicator.model.causal_token import PageToken
from replicator.model.errors import InvalidArgument, InvalidToken, ReplicaBehind
from replicator.model.ids import LogIndex, Revision
from replicator.model.limits import SCAN_PAGE_KEYS_MAX
from replicator.model.values import Consistency
from replicator.service.read_levels import ReadOptions
from replicator.service.scan import Page, ScanRange
from tests.support.memory_cluster import SCOPE, MemoryCluster, MemoryNode

CAUSAL = ReadOptions()


async def put(node: MemoryNode, key: bytes, value: bytes = b"v") -> None:
    await node.writes().put(key, value, None, timeout_s=1.0)


async def scan(node: MemoryNode, wanted: ScanRange, options: ReadOptions = CAUSAL, timeout_s: float = 5.0) -> Page:
    return await node.scans().scan(wanted, options, timeout_s=timeout_s)


async def test_later_pages_show_the_revision_of_the_first_whatever_is_written_meanwhile() -> None:
    node = MemoryCluster().add("n1", "eu")
    for key in (b"a", b"b", b"c"):
        await put(node, key)
    first = await scan(node, ScanRange(b"", b"", page_size=2))

    await put(node, b"c", b"changed")
    await put(node, b"d")
    await node.writes().delete(b"b", None, timeout_s=1.0)
    second = await scan(node, ScanRange(b"", b"", 2, first.next_page_token))

    assert [kv.key for kv in first.kvs] == [b"a", b"b"]
    assert [(kv.key, kv.value) for kv in second.kvs] == [(b"c", b"v")]
    assert (second.revision, second.next_page_token) == (first.revision, "")


async def test_a_node_that_holds_nothing_at_all_serves_no_page_first_or_later() -> None:
    cluster = MemoryCluster()
    leader, empty = cluster.add("n1", "eu"), cluster.add_unknown("n2", "us")
    for key in (b"a", b"b"):
        await put(leader, key)
    first = await scan(leader, ScanRange(b"", b"", page_size=1))

    for page_token in ("", first.next_page_token):
        for level in (Consistency.LOCAL, Consistency.CAUSAL, Consistency.LINEARIZABLE):
            with pytest.raises(ReplicaBehind, match="holds no data"):
                await scan(empty, ScanRange(b"", b"", 1, page_token), ReadOptions(level))


async def test_a_later_page_waits_on_a_node_that_has_not_reached_the_scans_revision() -> None:
    cluster = MemoryCluster()
    leader, follower = cluster.add("n1", "eu"), cluster.add("n2", "us")
    await put(leader, b"a")
    follower.hold()
    await put(leader, b"b")
    first = await scan(leader, ScanRange(b"", b"", page_size=1))
    rest = ScanRange(b"", b"", 1, first.next_page_token)

    with pytest.raises(ReplicaBehind):
        await scan(follower, rest, timeout_s=0.05)
    reading = asyncio.create_task(scan(follower, rest))
    await asyncio.sleep(0)
    follower.heal()

    assert [kv.key for kv in (await reading).kvs] == [b"b"]


async def test_a_page_token_continues_its_own_range_only() -> None:
    node = MemoryCluster().add("n1", "eu")
    await put(node, b"m")
    token = PageToken(Revision(1), LogIndex(1), b"m").encode(SCOPE)

    with pytest.raises(InvalidArgument, match="another range"):
        await scan(node, ScanRange(b"x", b"", 1, token))
    with pytest.raises(InvalidToken, match="page token is malformed"):
        await scan(node, ScanRange(b"", b"", 1, token[:-1]))


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (ScanRange(b"b", b"a"), "end"),
        (ScanRange(b"a", b"a"), "end"),
        (ScanRange(b"k" * 4097, b""), "start"),
        (ScanRange(b"", b"k" * 4097), "end"),
        (ScanRange(b"", b"", SCAN_PAGE_KEYS_MAX + 1), "page_size"),
    ],
)
async def test_a_range_that_makes_no_sense_is_refused_by_name(wanted: ScanRange, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await scan(MemoryCluster().add("n1", "eu"), wanted)

    assert caught.value.metadata["field"] == field


async def test_an_empty_range_is_one_empty_page() -> None:
    page = await scan(MemoryCluster().add("n1", "eu"), ScanRange(b"a", b"b"), ReadOptions(Consistency.LINEARIZABLE))

    assert (page.kvs, page.next_page_token, page.revision) == ((), "", 0)
