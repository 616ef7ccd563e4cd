"""How many new clients one caller may bring. Pure: time is handed in.

The group remembers each client for minutes, and has a fixed number of places for all of them. A caller that draws a
fresh client id for each write takes a place with each, and once the places are gone, every new client is refused.
So each caller is held to a rate: it may fill a part of the places only, and the rest is for the others.
"""

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from typing import Final

BURST_S: Final = 20.0  # of new clients that a caller which was quiet may bring at once
CALLERS_MAX: Final = 4096
RETRY_AFTER_S_MAX: Final = 5.0
IPV6_PREFIX: Final = 64  # what one caller commonly has: it may choose its address within


@dataclass(slots=True)
class _Caller:
    """spent_s: until when what it has taken lasts at its rate. return_s: when the one refused last is to come back."""

    spent_s: float
    return_s: float


class ClientQuota:
    """Invariant: in any stretch of time, a caller takes at most `per_s` times (that stretch and BURST_S), and one more.

    Of more than CALLERS_MAX callers, the one that has been quiet for longest is forgotten, and begins anew: to escape
    its bound so, a caller needs as many addresses, and with these it could do as much anyhow.
    """

    def __init__(self, per_s: int) -> None:
        assert per_s > 0, "somebody must be served"
        self._step_s = 1.0 / per_s
        self._callers: OrderedDict[str, _Caller] = OrderedDict()  # the longest quiet first

    def __len__(self) -> int:
        return len(self._callers)

    def take(self, caller: str, now_s: float) -> float:
        """0 if one more new client of `caller` is taken; else after how many seconds to come back."""
        known = self._callers.setdefault(caller, _Caller(now_s, now_s))
        self._callers.move_to_end(caller)
        if len(self._callers) > CALLERS_MAX:
            self._callers.popitem(last=False)
        known.spent_s = max(known.spent_s, now_s)
        if known.spent_s - now_s <= BURST_S:
            known.spent_s += self._step_s
            return 0.0
        # Times as if they queued: together they return no faster than they can be taken.
        earliest_s = max(known.return_s, now_s, known.spent_s - BURST_S)
        known.return_s = min(earliest_s + self._step_s, now_s + RETRY_AFTER_S_MAX)
        return known.return_s - now_s


def caller_of(host: str) -> str:
    """Whom an address counts for: itself; of IPv6, the network of IPV6_PREFIX bits. Anything else is its own caller."""
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, IPV6_PREFIX), strict=False))
