"""Who watches a key? Asked for every change, so that watchers of other keys cost nothing.

Keys and prefixes are looked up, one look for each length that a prefix has. Ranges are compared one by one, equal ones
once: a node has few that are neither a key nor a prefix.
"""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from replicator.service.feed.wanted import Wanted

W = TypeVar("W")
K = TypeVar("K", bound=Hashable)


class Interest(Generic[W]):
    """Watchers by what they want. A watcher may be found more than once for one key."""

    def __init__(self) -> None:
        self._keys: dict[bytes, set[W]] = {}
        self._prefixes: dict[int, dict[bytes, set[W]]] = {}  # by length
        self._ranges: dict[tuple[bytes, bytes], set[W]] = {}

    def add(self, watcher: W, wanted: Wanted) -> None:
        for key in wanted.keys:
            self._keys.setdefault(key, set()).add(watcher)
        for prefix in wanted.prefixes:
            self._prefixes.setdefault(len(prefix), {}).setdefault(prefix, set()).add(watcher)
        for bounds in wanted.ranges:
            self._ranges.setdefault(bounds, set()).add(watcher)

    def remove(self, watcher: W, wanted: Wanted) -> None:
        for key in wanted.keys:
            _leave(self._keys, key, watcher)
        for prefix in set(wanted.prefixes):
            of_length = self._prefixes[len(prefix)]
            _leave(of_length, prefix, watcher)
            if not of_length:
                del self._prefixes[len(prefix)]
        for bounds in set(wanted.ranges):
            _leave(self._ranges, bounds, watcher)

    def watching(self, key: bytes) -> Iterator[W]:
        """Not to be changed while it is walked."""
        yield from self._keys.get(key, ())
        for length, of_length in self._prefixes.items():
            yield from of_length.get(key[:length], ())
        for (start, end), watchers in self._ranges.items():
            if start <= key and (not end or key < end):
                yield from watchers


def _leave(watchers: dict[K, set[W]], name: K, watcher: W) -> None:
    watchers[name].remove(watcher)
    if not watchers[name]:
        del watchers[name]
