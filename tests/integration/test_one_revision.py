"""Exports through the API show one revision while others write; those whose pages show several are found."""

import asyncio
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import replicator
from chaos.checkers import one_revision
from chaos.checkers.violation import Breach, Violation
from chaos.demo.caller import EXPORT_PAGE_KEYS, Caller, Traffic
from chaos.history import History
from tests.support.api_nodes import serving
from tests.support.memory_cluster import MemoryCluster
from tests.support.memory_replica import MemoryReplica
from tests.support.planted_bugs import replaced

KEYS = 8 * EXPORT_PAGE_KEYS
EXPORTS = 4


def reads_each_page_at_the_newest_revision() -> AbstractContextManager[None]:
    """And tells that of the first page, so that neither the service nor the SDK can see it."""
    original = MemoryReplica.scan

    def scan(self: MemoryReplica, start: bytes, end: bytes, *, at_revision: Any, **how: Any) -> Any:
        page = original(self, start, end, at_revision=None, **how)
        return page if at_revision is None else replace(page, revision=at_revision)

    return replaced(MemoryReplica, "scan", scan)


async def violations() -> list[Violation]:
    """Of exports, while every key is written again and again."""
    cluster, history, stop = MemoryCluster(), History(), asyncio.Event()
    cluster.add("n1", "eu")
    async with serving(cluster) as (node,), replicator.connect([node.address], "eu", timeout_s=60.0) as client:
        writer, exporter = (Caller(client, f"eu/{name}", "eu", Traffic(history)) for name in ("writer", "exporter"))
        for number in range(KEYS):
            await writer.put(f"k{number:03d}", "first")

        async def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                await writer.put(f"k{(7 * number) % KEYS:03d}", str(number))

        writing = asyncio.create_task(write())
        for _ in range(EXPORTS):
            assert await exporter.export()
        stop.set()
        await writing
    assert [len(export.pairs) for export in history.exports] == [KEYS] * EXPORTS
    return one_revision.check(history)


async def test_an_export_shows_one_revision_while_others_write() -> None:
    assert await violations() == []


async def test_pages_that_show_several_are_found() -> None:
    with reads_each_page_at_the_newest_revision():
        found = await violations()
    assert found
    assert {violation.breach for violation in found} == {Breach.WRONG}
    assert all("which came after it" in str(violation) for violation in found)
