"""A bounded number of places, so that silent callers cannot keep others from being served.

Where a newcomer finds no place free, the origin that holds most gives up its oldest. So a crowd from one origin crowds
out itself, and a caller that does its work at once is done before its turn comes.
"""

from collections import Counter
from typing import Generic, TypeVar

T = TypeVar("T")


class Places(Generic[T]):
    """Invariant: at most `number` are held. Holders are told apart by identity. A take costs O(number) once full."""

    def __init__(self, number: int) -> None:
        assert number > 0, "somebody must be served"
        self._number = number
        self._held: dict[int, tuple[str, T]] = {}  # oldest first
        self.crowded_out = 0

    def __len__(self) -> int:
        return len(self._held)

    def take(self, origin: str, holder: T) -> T | None:
        """Gives `holder` a place; returns the one that gives up its place for it, or None."""
        assert id(holder) not in self._held, "one holder, one place"
        loser = self._crowd_out() if len(self._held) >= self._number else None
        self._held[id(holder)] = (origin, holder)
        assert len(self._held) <= self._number, "places are bounded"
        return loser

    def leave(self, holder: T) -> None:
        """Idempotent; one that was crowded out has left."""
        self._held.pop(id(holder), None)

    def _crowd_out(self) -> T:
        crowds = Counter(origin for origin, _ in self._held.values())
        most = max(crowds.values())
        key = next(key for key, (origin, _) in self._held.items() if crowds[origin] == most)
        self.crowded_out += 1
        return self._held.pop(key)[1]
