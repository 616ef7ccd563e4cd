"""A session: reads that see all that it has read and written, on any node, in any region.

It adds the token to each read, and takes it from each reply. Nothing else: its calls are those of the client.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TypeVar

from replicator.client.causality import Causality
from replicator.model.values import (
    CompareAndSetResult,
    Consistency,
    DeleteResult,
    GetResult,
    KeyValue,
    PutResult,
    ScanPage,
)

if TYPE_CHECKING:
    from replicator.client.client import Client

Seen = TypeVar("Seen", PutResult, DeleteResult, CompareAndSetResult, GetResult, ScanPage)


class Session:
    """Made by `Client.session`. Costs next to nothing, needs no end, and may be used by any number of tasks at once."""

    def __init__(self, client: "Client", causality: Causality) -> None:
        self._client = client
        self._causality = causality

    @property
    def token(self) -> str | None:
        """Covers all that this session has read and written; None before its first reply."""
        return self._causality.token

    def observe(self, token: str) -> None:
        """From now on its reads are at least as new as `token`, of another session or service, too.

        Raises InvalidToken for what is no token, or of another group than those observed before.
        """
        self._causality.observe(token)

    async def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> PutResult:
        """As `Client.put`."""
        return self._noted(await self._client.put(key, value, timeout_s=timeout_s))

    async def delete(self, key: bytes, *, timeout_s: float | None = None) -> DeleteResult:
        """As `Client.delete`."""
        return self._noted(await self._client.delete(key, timeout_s=timeout_s))

    async def compare_and_set(
        self, key: bytes, value: bytes, *, if_revision: int, timeout_s: float | None = None
    ) -> CompareAndSetResult:
        """As `Client.compare_and_set`."""
        return self._noted(await self._client.compare_and_set(key, value, if_revision=if_revision, timeout_s=timeout_s))

    async def get(
        self,
        key: bytes,
        *,
        consistency: Consistency | None = None,
        max_staleness_ms: int | None = None,
        timeout_s: float | None = None,
    ) -> GetResult:
        """As `Client.get`, with the session's token."""
        return self._noted(
            await self._client.get(
                key,
                token=self.token,
                consistency=consistency,
                max_staleness_ms=max_staleness_ms,
                timeout_s=timeout_s,
            )
        )

    async def scan(
        self,
        *,
        prefix: bytes = b"",
        start: bytes = b"",
        end: bytes = b"",
        consistency: Consistency | None = None,
        max_staleness_ms: int | None = None,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> AsyncIterator[KeyValue]:
        """As `Client.scan`, with the session's token."""
        async for page in self.scan_pages(
            prefix=prefix,
            start=start,
            end=end,
            consistency=consistency,
            max_staleness_ms=max_staleness_ms,
            page_size=page_size,
            timeout_s=timeout_s,
        ):
            for kv in page.pairs:
                yield kv

    async def scan_pages(
        self,
        *,
        prefix: bytes = b"",
        start: bytes = b"",
        end: bytes = b"",
        consistency: Consistency | None = None,
        max_staleness_ms: int | None = None,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> AsyncIterator[ScanPage]:
        """As `Client.scan_pages`, with the session's token."""
        async for page in self._client.scan_pages(
            prefix=prefix,
            start=start,
            end=end,
            token=self.token,
            consistency=consistency,
            max_staleness_ms=max_staleness_ms,
            page_size=page_size,
            timeout_s=timeout_s,
        ):
            yield self._noted(page)

    def _noted(self, result: Seen) -> Seen:
        self._causality.note(result.token)
        return result
