"""Scan: pages of a range, all showing the revision that the first page fixed, whichever node serves them."""

import asyncio
from dataclasses import dataclass

from replicator.model.causal_token import CausalToken, PageToken, token_scope
from replicator.model.clock import Clock
from replicator.model.deadline import Deadline
from replicator.model.errors import Internal, TokenAhead
from replicator.model.limits import SCAN_PAGE_BYTES_MAX
from replicator.model.values import KeyValue
from replicator.service.ports import EnginePort, PagePort, StoreReads
from replicator.service.read import staleness_of
from replicator.service.read_levels import ReadLevels, ReadOptions
from replicator.service.validate import check_range, check_resume_key, page_keys


@dataclass(frozen=True, slots=True)
class ScanRange:
    """[start, end), an empty end meaning no end. page_token: of the previous page, empty for the first."""

    start: bytes
    end: bytes
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """next_page_token: empty on the last page. revision: the one that all pages show."""

    kvs: tuple[KeyValue, ...]
    next_page_token: str
    revision: int
    token: str
    staleness_ms: float | None


class ScanService:
    """Reads of ranges."""

    def __init__(self, engine: EnginePort, store: StoreReads, clock: Clock) -> None:
        self._engine, self._store, self._clock = engine, store, clock
        self._freshness = ReadLevels(engine, clock)

    async def scan(self, wanted: ScanRange, options: ReadOptions, *, timeout_s: float) -> Page:
        """One page. The read options choose the revision, hence count for the first page only."""
        check_range(wanted.start, wanted.end)
        keys_max = page_keys(wanted.page_size)
        deadline = Deadline.after(timeout_s, self._clock.monotonic_s)
        started_s = self._clock.monotonic_s()
        resume = await self._resume(wanted, deadline) if wanted.page_token else None
        if resume is None:
            await self._freshness.ready(options, deadline)
        staleness_ms = staleness_of(self._engine, options, self._clock.monotonic_s() - started_s)
        await self._engine.wait_stored(timeout_s=deadline.left_s())
        # A page may look at thousands of keys: on the loop, that would hold up heartbeats.
        page = await asyncio.to_thread(
            self._store.scan,
            wanted.start,
            wanted.end,
            at_revision=resume.revision if resume else None,
            after_key=resume.resume_key if resume else None,
            keys_max=keys_max,
            bytes_max=SCAN_PAGE_BYTES_MAX,
        )
        if resume is not None and page.revision != resume.revision:
            raise Internal(f"a page at revision {page.revision} was read for a scan of revision {resume.revision}")
        return self._answer(page, staleness_ms)

    async def _resume(self, wanted: ScanRange, deadline: Deadline) -> PageToken:
        """Where a later page goes on, once this replica holds what the pages before it showed."""
        resume = PageToken.decode(wanted.page_token, self._freshness.scope())
        check_resume_key(resume.resume_key, wanted.start, wanted.end)
        await self._freshness.reach(CausalToken(resume.index), deadline)
        revision = self._store.applied_position.revision
        if resume.revision > revision:
            # The pages before it were read at this index or an earlier one, where there was no such revision.
            raise TokenAhead(
                f"the page token names revision {resume.revision}, but the store is at {revision}: it was not issued "
                "by this log; begin the scan anew",
                metadata={"token_revision": str(resume.revision), "revision": str(revision)},
            )
        return resume

    def _answer(self, page: PagePort, staleness_ms: float | None) -> Page:
        scope = token_scope(self._engine.founder)
        next_page_token = ""
        if page.more:
            if page.last_key is None:
                raise Internal("a page claims that more follows, but not after which key")
            next_page_token = PageToken(page.revision, page.applied_index, page.last_key).encode(scope)
        return Page(
            kvs=tuple(page.kvs),
            next_page_token=next_page_token,
            revision=page.revision,
            token=CausalToken(page.applied_index, page.revision).encode(scope),
            staleness_ms=staleness_ms,
        )
