"""Which connections to close when there are too many. Pure: facts in, connections out.

Fair by address, as in `places`: first what exceeds the share of an address, then the largest crowd; within it the
most idle first. A caller that works is never the most idle.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connection:
    """number: names it to the caller. idle_s: since the last byte came."""

    number: int
    address: str
    idle_s: float


def surplus(connections: Sequence[Connection], *, total_max: int, per_address_max: int) -> list[Connection]:
    """Those to close, so that what stays is within both bounds. Cost: O(n log n), and O(addresses) for each beyond."""
    assert total_max >= 0, "an amount"
    assert per_address_max >= 0, "an amount"
    crowds: dict[str, list[Connection]] = {}
    for connection in sorted(connections, key=lambda each: each.idle_s):
        crowds.setdefault(connection.address, []).append(connection)  # the most idle last
    closing = [each for crowd in crowds.values() for each in crowd[per_address_max:]]
    for crowd in crowds.values():
        del crowd[per_address_max:]
    left = sum(map(len, crowds.values()))
    while left > total_max:
        closing.append(max(crowds.values(), key=len).pop())
        left -= 1
    return closing
