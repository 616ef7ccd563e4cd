"""The client without async: each call of `client.Client`, made from any thread, which waits for the answer.

It is the same client, on an event loop of its own (`loop_thread.py`): retries, batches, deadlines and errors are its.
Threads that call at the same time share batches, as tasks do.
"""

import atexit
import contextlib
import warnings
import weakref
from collections.abc import Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from replicator.client.client import Client, GivenRole
from replicator.client.client import connect as connect_async
from replicator.client.loop_thread import LoopThread, give_back, lease, waited
from replicator.client.sync_session import SyncSession
from replicator.client.tls import ClientTls
from replicator.model.errors import ReplicatorError
from replicator.model.limits import CALL_TIMEOUT_S_DEFAULT
from replicator.model.values import (
    CompareAndSetResult,
    Consistency,
    DeleteResult,
    GetResult,
    KeyValue,
    MembershipResult,
    MemberStatus,
    NodeStatus,
    PutResult,
    ScanPage,
)

T = TypeVar("T")


def connect(
    endpoints: Sequence[str],
    region: str | None = None,
    *,
    tls: ClientTls | None = None,
    timeout_s: float = CALL_TIMEOUT_S_DEFAULT,
) -> "SyncClient":
    """As `replicator.connect`, for code without async; use it in `with`, or close it."""
    return SyncClient(connect_async(endpoints, region, tls=tls, timeout_s=timeout_s))


class SyncClient:
    """Safe for any number of threads. The calls are those of `Client`: what they take, return and raise.

    A thread that runs an event loop should not call it, since it would block that loop: `replicator.connect` is for
    those. A call that is interrupted (KeyboardInterrupt) may or may not have happened, as one that is cancelled.
    """

    def __init__(self, client: Client) -> None:
        """client: one that nobody else uses."""
        self._client: Final = client
        self._loop: Final = lease()
        self._end = weakref.finalize(self, _collected, client, self._loop)
        self._end.atexit = False  # then there is time to wait: see `_close_all`
        _open.add(self)

    def session(self, token: str | None = None) -> SyncSession:
        return SyncSession(self._wait_for, self._client.session(token))

    def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> PutResult:
        return self._wait_for(self._client.put(key, value, timeout_s=timeout_s))

    def get(
        self,
        key: bytes,
        *,
        token: str | None = None,
        consistency: Consistency | None = None,
        max_staleness_ms: int | None = None,
        timeout_s: float | None = None,
    ) -> GetResult:
        return self._wait_for(
            self._client.get(
                key, token=token, consistency=consistency, max_staleness_ms=max_staleness_ms, timeout_s=timeout_s
            )
        )

    def delete(self, key: bytes, *, timeout_s: float | None = None) -> DeleteResult:
        return self._wait_for(self._client.delete(key, timeout_s=timeout_s))

    def compare_and_set(
        self, key: bytes, value: bytes, *, if_revision: int, timeout_s: float | None = None
    ) -> CompareAndSetResult:
        return self._wait_for(self._client.compare_and_set(key, value, if_revision=if_revision, timeout_s=timeout_s))

    def scan(
        self,
        *,
        prefix: bytes = b"",
        start: bytes = b"",
        end: bytes = b"",
        token: str | None = None,
        consistency: Consistency | None = None,
        max_staleness_ms: int | None = None,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[KeyValue]:
        pages = self.scan_pages(
            prefix=prefix,
            start=start,
            end=end,
            token=token,
            consistency=consistency,
            max_staleness_ms=max_staleness_ms,
            page_size=page_size,
            timeout_s=timeout_s,
        )
        for page in pages:
            yield from page.pairs

    def scan_pages(
        self,
        *,
        prefix: bytes = b"",
        start: bytes = b"",
        end: bytes = b"",
        token: str | None = None,
        consistency: Consistency | None = None,
        max_staleness_ms: int | None = None,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[ScanPage]:
        pages = self._client.scan_pages(
            prefix=prefix,
            start=start,
            end=end,
            token=token,
            consistency=consistency,
            max_staleness_ms=max_staleness_ms,
            page_size=page_size,
            timeout_s=timeout_s,
        )

        yield from waited(pages, self._wait_for)

    def status(
        self, endpoint: str | None = None, *, state_hash: bool = False, timeout_s: float | None = None
    ) -> NodeStatus:
        return self._wait_for(self._client.status(endpoint, state_hash=state_hash, timeout_s=timeout_s))

    def members(self, *, timeout_s: float | None = None) -> list[MemberStatus]:
        return self._wait_for(self._client.members(timeout_s=timeout_s))

    def set_member(
        self,
        node_id: str,
        *,
        region: str,
        peer_address: str,
        api_address: str,
        role: GivenRole,
        directory_id: bytes = b"",
        timeout_s: float | None = None,
    ) -> MembershipResult:
        return self._wait_for(
            self._client.set_member(
                node_id,
                region=region,
                peer_address=peer_address,
                api_address=api_address,
                role=role,
                directory_id=directory_id,
                timeout_s=timeout_s,
            )
        )

    def remove_member(self, node_id: str, *, timeout_s: float | None = None) -> MembershipResult:
        return self._wait_for(self._client.remove_member(node_id, timeout_s=timeout_s))

    def transfer_leadership(
        self, to: str | None = None, region: str | None = None, *, timeout_s: float | None = None
    ) -> str:
        return self._wait_for(self._client.transfer_leadership(to, region, timeout_s=timeout_s))

    def close(self) -> None:
        """Ends calls in flight, of other threads too, and lets go of all connections. Closing twice is fine."""
        if self._end.detach() is not None:
            _open.discard(self)
            try:
                self._loop.wait_for(self._client.close())
            finally:
                give_back(self._loop)

    def __enter__(self) -> Self:
        self._wait_for(self._client.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._end.alive:
            warnings.warn(f"unclosed {self!r}: use `with`, or its close()", ResourceWarning, source=self, stacklevel=2)

    def _wait_for(self, call: Coroutine[Any, Any, T]) -> T:
        if not self._end.alive:
            call.close()
            raise RuntimeError("the client is closed; connect() gives a new one")
        return self._loop.wait_for(call)


def _collected(client: Client, loop: LoopThread) -> None:
    """Nobody closed it. On any thread, also on that of the loop, so this waits for nothing."""
    loop.spawn(_close_and_give_back(client, loop))


async def _close_and_give_back(client: Client, loop: LoopThread) -> None:
    try:
        await client.close()
    finally:
        give_back(loop)


_open: "weakref.WeakSet[SyncClient]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """What a program leaves open is closed while gRPC still works."""
    for client in list(_open):
        with contextlib.suppress(ReplicatorError, RuntimeError):
            client.close()
