"""`watch` and `compact` without async."""

from abc import abstractmethod
from collections.abc import Coroutine, Generator, Iterable, Sequence
from typing import Any, TypeVar

from replicator.client.loop_thread import waited
from replicator.client.watch_calls import PROGRESS_S_DEFAULT, WatchCalls, WatchItem
from replicator.model.changes import ChangeKind

T = TypeVar("T")


class SyncWatchCalls:
    """A part of `SyncClient`."""

    @abstractmethod
    def _calls(self) -> WatchCalls: ...

    @abstractmethod
    def _wait_for(self, call: Coroutine[Any, Any, T]) -> T: ...

    def watch(
        self,
        *,
        key: bytes | None = None,
        prefix: bytes | None = None,
        keys: Sequence[bytes] = (),
        prefixes: Sequence[bytes] = (),
        ranges: Sequence[tuple[bytes, bytes]] = (),
        from_revision: int | None = None,
        token: str | None = None,
        kinds: Iterable[ChangeKind] | None = None,
        keys_only: bool = False,
        with_previous: bool = False,
        snapshot: bool = False,
        resnapshot: bool = False,
        progress_s: float = PROGRESS_S_DEFAULT,
        reconnect_s: float | None = None,
    ) -> Generator[WatchItem, None, None]:
        items = self._calls().watch(
            key=key,
            prefix=prefix,
            keys=keys,
            prefixes=prefixes,
            ranges=ranges,
            from_revision=from_revision,
            token=token,
            kinds=kinds,
            keys_only=keys_only,
            with_previous=with_previous,
            snapshot=snapshot,
            resnapshot=resnapshot,
            progress_s=progress_s,
            reconnect_s=reconnect_s,
        )

        async def end() -> None:
            await items.aclose()

        try:
            yield from waited(items, self._wait_for)
        finally:
            self._wait_for(end())

    def compact(self, revision: int, *, timeout_s: float | None = None) -> int:
        return self._wait_for(self._calls().compact(revision, timeout_s=timeout_s))
