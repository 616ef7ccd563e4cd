"""The session without async: each call of `session.Session`, which waits for the answer."""

from collections.abc import Iterator, Sequence

from replicator.client.loop_thread import WaitsFor, waited
from replicator.client.session import Session
from replicator.model.transactions import Compare, Operation, TxnResult
from replicator.model.values import (
    CompareAndSetResult,
    Consistency,
    DeleteResult,
    GetResult,
    KeyValue,
    PutResult,
    ScanPage,
)


class SyncSession:
    """Made by `SyncClient.session`. Costs next to nothing, needs no end, and may be used by any number of threads."""

    def __init__(self, wait_for: WaitsFor, session: Session) -> None:
        self._wait_for = wait_for
        self._session = session

    @property
    def token(self) -> str | None:
        """Covers all that this session has read and written; None before its first reply."""
        return self._session.token

    def observe(self, token: str) -> None:
        """From now on its reads are at least as new as `token`, of another session or service, too.

        Raises InvalidToken for what is no token, or of another group than those observed before.
        """
        self._session.observe(token)

    def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> PutResult:
        return self._wait_for(self._session.put(key, value, timeout_s=timeout_s))

    def delete(self, key: bytes, *, timeout_s: float | None = None) -> DeleteResult:
        return self._wait_for(self._session.delete(key, timeout_s=timeout_s))

    def compare_and_set(
        self, key: bytes, value: bytes, *, if_revision: int, timeout_s: float | None = None
    ) -> CompareAndSetResult:
        return self._wait_for(self._session.compare_and_set(key, value, if_revision=if_revision, timeout_s=timeout_s))

    def txn(
        self,
        compare: Sequence[Compare] = (),
        then: Sequence[Operation] = (),
        or_else: Sequence[Operation] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        return self._wait_for(self._session.txn(compare, then, or_else, timeout_s=timeout_s))

    def get(
        self,
        key: bytes,
        *,
        consistency: Consistency | None = None,
        max_staleness_ms: int | None = None,
        timeout_s: float | None = None,
    ) -> GetResult:
        return self._wait_for(
            self._session.get(
                key,
                consistency=consistency,
                max_staleness_ms=max_staleness_ms,
                timeout_s=timeout_s,
            )
        )

    def scan(
        self,
        *,
        prefix: bytes = b"",
        start: bytes = b"",
        end: bytes = b"",
        consistency: Consistency | None = None,
        max_staleness_ms: int | None = None,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[KeyValue]:
        pages = self.scan_pages(
            prefix=prefix,
            start=start,
            end=end,
            consistency=consistency,
            max_staleness_ms=max_staleness_ms,
            page_size=page_size,
            timeout_s=timeout_s,
        )
        for page in pages:  # a wait for each page, and not for each pair
            yield from page.pairs

    def scan_pages(
        self,
        *,
        prefix: bytes = b"",
        start: bytes = b"",
        end: bytes = b"",
        consistency: Consistency | None = None,
        max_staleness_ms: int | None = None,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[ScanPage]:
        return waited(
            self._session.scan_pages(
                prefix=prefix,
                start=start,
                end=end,
                consistency=consistency,
                max_staleness_ms=max_staleness_ms,
                page_size=page_size,
                timeout_s=timeout_s,
            ),
            self._wait_for,
        )
