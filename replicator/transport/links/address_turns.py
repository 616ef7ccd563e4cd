"""Which address of a peer is dialled next, and when. Pure: the caller's clock in, an address and a wait out.

A peer has the address that the group knows, and perhaps a second one, which this node's own file lists. The group's
comes first. An address that failed passes the turn on, so that both are tried alternately; one that answered keeps it.
"""

import random

from replicator.core.backoff import Backoff
from replicator.transport.settings import LinkTimers


class AddressTurns:
    """Invariant: whatever the address, every failure is followed by a wait of backoff_min_s at least.

    A refusal makes only its own address wait longer: the other one may lead to another node.
    """

    def __init__(self, addresses: tuple[str, ...], dice: random.Random, timers: LinkTimers) -> None:
        assert addresses, "a peer that is dialled has an address"
        self._addresses = addresses
        self._turn = 0
        self._failures = Backoff(dice, min_s=timers.backoff_min_s, max_s=timers.backoff_max_s)
        self._refusals = [
            Backoff(dice, min_s=timers.backoff_min_s, max_s=timers.refused_backoff_max_s) for _ in addresses
        ]
        self._barred_until_s = [float("-inf")] * len(addresses)  # those that refused

    @property
    def addresses(self) -> tuple[str, ...]:
        """HOST:PORT of each, the group's first."""
        return self._addresses

    @property
    def address(self) -> str:
        """Whose turn it is."""
        return self._addresses[self._turn]

    @property
    def number(self) -> int:
        """Of that address, 0 for the group's."""
        return self._turn

    def failed(self, now_s: float, *, stays: bool = False) -> float:
        """Nothing was reached. Returns the seconds to wait before the next attempt. stays: at the same address."""
        return self._pass_on(now_s + self._failures.next_s(), stays=stays) - now_s

    def refused(self, now_s: float, *, stays: bool = False) -> float:
        """As `failed`, for an address where a handshake was refused, by either side."""
        wait_s = self._refusals[self._turn].next_s()
        self._barred_until_s[self._turn] = now_s + wait_s
        is_alone = stays or len(self._addresses) == 1
        return self._pass_on(now_s + (wait_s if is_alone else self._failures.next_s()), stays=stays) - now_s

    def welcomed(self) -> None:
        """The peer itself answered here, and nobody refused."""
        self._refusals[self._turn].reset()
        self._barred_until_s[self._turn] = float("-inf")

    def held(self) -> None:
        """A link over this address has lasted: the next wait is short again."""
        self._failures.reset()

    def pause_s(self) -> float:
        """How long to wait before the next attempt at the same address."""
        return self._failures.next_s()

    def pardon(self) -> None:
        """What refusals were about may have changed."""
        for refusals in self._refusals:
            refusals.reset()
        self._barred_until_s = [float("-inf")] * len(self._addresses)

    def _pass_on(self, at_s: float, *, stays: bool) -> float:
        """Gives the turn to the address that may be dialled first, from at_s on; of two, to the other. Returns when."""
        count = len(self._addresses)
        order = [self._turn] if stays else [(self._turn + step) % count for step in range(1, count + 1)]
        self._turn = min(order, key=lambda number: max(self._barred_until_s[number], at_s))
        return max(self._barred_until_s[self._turn], at_s)
