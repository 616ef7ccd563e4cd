"""Endpoints that have been silent several times in a row are left alone for a while, if there are others to ask.

Knows addresses and times, handed in. An answer of any kind, also a refusal, closes a breaker. When its time is over one
call may try; the others follow once that one was answered.
"""

import random
from dataclasses import dataclass
from typing import Final

SILENCES_MAX: Final = 3  # in a row, before an endpoint is left alone
OPEN_S_MIN: Final = 0.5
OPEN_S_MAX: Final = 5.0


@dataclass(slots=True)
class _Breaker:
    silences: int = 0
    open_until_s: float = 0.0


class Breakers:
    """Of one client. As many as it has endpoints that were silent."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._breakers: dict[str, _Breaker] = {}

    def admits(self, address: str, now_s: float) -> bool:
        """False: ask another one first."""
        breaker = self._breakers.get(address)
        return breaker is None or now_s >= breaker.open_until_s

    def trying(self, address: str, now_s: float) -> None:
        """A call goes to `address`. If it was left alone until now, the next one waits for what comes of this one."""
        breaker = self._breakers.get(address)
        if breaker is not None and breaker.silences >= SILENCES_MAX:
            breaker.open_until_s = now_s + self._open_s(breaker)

    def answered(self, address: str) -> None:
        self._breakers.pop(address, None)

    def was_silent(self, address: str, now_s: float) -> None:
        """It did not answer, could not be reached, or broke off."""
        breaker = self._breakers.setdefault(address, _Breaker())
        breaker.silences += 1
        if breaker.silences >= SILENCES_MAX:
            breaker.open_until_s = now_s + self._open_s(breaker)

    def forget(self, addresses: set[str]) -> None:
        """Keeps only those of endpoints that there are."""
        self._breakers = {address: breaker for address, breaker in self._breakers.items() if address in addresses}

    def _open_s(self, breaker: _Breaker) -> float:
        longest_s = min(OPEN_S_MAX, OPEN_S_MIN * 2.0 ** min(breaker.silences - SILENCES_MAX, 8))
        return self._dice.uniform(longest_s / 2, longest_s)
