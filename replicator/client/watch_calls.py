"""The calls of the client about changes and history: `watch` and `compact`."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from replicator.client.arguments import check_bytes, check_text, check_timeout, refuse, uint64
from replicator.client.watching import KIND_NUMBER, Patience, Watching
from replicator.model.changes import ChangeBatch, ChangeKind, SnapshotPart
from replicator.model.errors import Compacted
from replicator.model.values import GetResult, KeyValue, ScanPage
from replicator.v1 import kv_pb2

SNAPSHOT_ATTEMPTS_MAX: Final = 5  # if history is forgotten while the pairs are read
PROGRESS_S_DEFAULT: Final = 5.0

WatchItem: TypeAlias = ChangeBatch | SnapshotPart


class WatchCalls:
    """A part of `Client`."""

    @abstractmethod
    def _watching(self, request: kv_pb2.WatchRequest, patience: Patience) -> Watching: ...

    @abstractmethod
    async def _opened(self) -> None:
        """Returns once the client is open; raises RuntimeError if it is closed."""

    @abstractmethod
    async def _change(self, request: Any, send: Any, timeout_s: float | None) -> Any: ...

    @abstractmethod
    async def get(self, key: bytes, *, token: str | None = None) -> GetResult: ...

    @abstractmethod
    def scan_pages(
        self, *, prefix: bytes = b"", start: bytes = b"", end: bytes = b"", token: str | None = None
    ) -> AsyncIterator[ScanPage]: ...

    async def watch(
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
    ) -> AsyncGenerator[WatchItem, None]:
        """Changes of the keys that are named in any way, each once, in order; goes on at other nodes by itself.

        Begins at `from_revision`, after what `token` covers, or now. A batch without changes is a mark of progress: one
        comes first, once the node has caught up, and then after each `progress_s` without a change. snapshot: first the
        pairs of the one key, prefix or range, in parts, then what changes after that. resnapshot: the same in place of
        Compacted, if history is forgotten. reconnect_s: how long no node may serve; None: for ever.

        Raises Compacted, and what else no other node can mend.
        """
        wanted = _Wanted(_named(key, keys), _named(prefix, prefixes), tuple(ranges))
        wanted.check(is_snapshot=snapshot or resnapshot)
        if snapshot and from_revision is not None:
            refuse("from_revision", "from_revision and snapshot: the snapshot says where the changes begin")
        request = _request(wanted, from_revision, token, kinds, progress_s)
        request.keys_only, request.with_previous = keys_only, with_previous
        await self._opened()
        watching = self._watching(request, Patience(progress_s, reconnect_s))
        wants_snapshot = snapshot
        while True:
            if wants_snapshot:
                async for part in self._snapshot(wanted, request.token or None):
                    yield part
                watching.go_on_from(part.revision, part.token)
            try:
                async with aclosing(watching.batches()) as batches:
                    async for batch in batches:
                        yield batch
            except Compacted:
                if not resnapshot:
                    raise
                wants_snapshot = True  # no older than what was shown before: the token still says that

    async def compact(self, revision: int, *, timeout_s: float | None = None) -> int:
        """Forgets history before `revision`: reads and watches do not go back beyond it. Returns the store's revision.

        Raises InvalidArgument if the store has not come to that revision; Compacted if history begins there already,
        or later.
        """
        request = kv_pb2.CompactRequest(revision=uint64("revision", revision))
        answer = await self._change(request, lambda c, r, t: c.kv.Compact(r, timeout=t), timeout_s)
        done: int = answer.revision
        return done

    async def _snapshot(self, wanted: "_Wanted", token: str | None) -> AsyncIterator[SnapshotPart]:
        """Begins anew if its revision is forgotten before all of it is read."""
        for attempt in range(1, SNAPSHOT_ATTEMPTS_MAX + 1):
            try:
                async for part in self._snapshot_once(wanted, token):
                    yield part
                return
            except Compacted:
                if attempt == SNAPSHOT_ATTEMPTS_MAX:
                    raise

    async def _snapshot_once(self, wanted: "_Wanted", token: str | None) -> AsyncIterator[SnapshotPart]:
        if wanted.keys:
            got = await self.get(wanted.keys[0], token=token)
            pairs = () if got.value is None else (_pair(got, got.value),)
            yield SnapshotPart(pairs, got.revision, got.token, is_first=True, is_last=True)
            return
        if wanted.prefixes:
            pages = self.scan_pages(prefix=wanted.prefixes[0], token=token)
        else:
            start, end = wanted.ranges[0]
            pages = self.scan_pages(start=start, end=end, token=token)
        before: ScanPage | None = None
        is_first = True
        async for page in pages:
            if before is not None:
                yield SnapshotPart(before.pairs, before.revision, before.token, is_first, is_last=False)
                is_first = False
            before = page
        assert before is not None, "a scan has a page"
        yield SnapshotPart(before.pairs, before.revision, before.token, is_first, is_last=True)


@dataclass(frozen=True, slots=True)
class _Wanted:
    keys: tuple[bytes, ...]
    prefixes: tuple[bytes, ...]
    ranges: tuple[tuple[bytes, bytes], ...]

    def check(self, *, is_snapshot: bool) -> None:
        """Raises InvalidArgument."""
        for field, all_given in (("keys", self.keys), ("prefixes", self.prefixes)):
            for given in all_given:
                check_bytes(field, given)
        for bounds in self.ranges:
            for bound in bounds:
                check_bytes("ranges", bound)
        count = len(self.keys) + len(self.prefixes) + len(self.ranges)
        if is_snapshot and count != 1:
            refuse("snapshot", f"snapshot is of one key, prefix or range, as it shows one revision; {count} are given")


def _request(
    wanted: _Wanted,
    from_revision: int | None,
    token: str | None,
    kinds: Iterable[ChangeKind] | None,
    progress_s: float,
) -> kv_pb2.WatchRequest:
    if token is not None:
        check_text("token", token)
    check_timeout(progress_s)
    numbers = [KIND_NUMBER.get(kind) for kind in kinds or ()]
    if None in numbers:
        refuse("kinds", "kinds must be members of replicator.ChangeKind")
    return kv_pb2.WatchRequest(
        keys=wanted.keys,
        prefixes=wanted.prefixes,
        ranges=[kv_pb2.KeyRange(start=start, end=end) for start, end in wanted.ranges],
        from_revision=0 if from_revision is None else uint64("from_revision", from_revision),
        token=token or "",
        kinds=[number for number in numbers if number is not None],
        progress_ms=int(progress_s * 1000.0),
    )


def _named(one: bytes | None, several: Sequence[bytes]) -> tuple[bytes, ...]:
    return tuple(several) if one is None else (one, *several)


def _pair(got: GetResult, value: bytes) -> KeyValue:
    return KeyValue(got.key, value, got.create_revision, got.mod_revision, got.version)
