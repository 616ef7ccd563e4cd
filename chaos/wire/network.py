"""All lines between regions: a distance for every pair, and whole regions that can be cut off.

Knows regions by name only. Traffic within a region does not pass here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from chaos.wire.cut import CutMode
from chaos.wire.link import Link
from chaos.wire.settings import LinkSettings


@dataclass(frozen=True, slots=True)
class Route:
    """A link's ends: the region that dials and the region that is reached."""

    source: str
    target: str

    @property
    def regions(self) -> frozenset[str]:
        return frozenset((self.source, self.target))


class Network:
    """Links between regions. An async context manager: leaving it closes them all.

    distances: settings of the link between two regions, whichever of them dials.
    """

    def __init__(self, distances: Mapping[frozenset[str], LinkSettings], *, seed: int = 0) -> None:
        self._distances = distances
        self._seed = seed
        self._links: list[tuple[Route, Link]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for _route, link in self._links:
            await link.close()

    async def connect(self, route: Route, target: str, *, listen_port: int = 0) -> Link:
        """Opens one more link along a route. Its `address` is what the dialling side must be told."""
        link = Link(listen_port, target, self._distances[route.regions], seed=self._seed + len(self._links))
        await link.open()
        self._links.append((route, link))
        return link

    def cut_off(self, region: str, mode: CutMode = CutMode.STALL) -> None:
        """Nothing gets into or out of a region."""
        for link in self.links_of(region):
            link.cut(mode)

    def heal(self) -> None:
        """Every line carries again. Idempotent."""
        for _, link in self._links:
            link.heal()

    def links_of(self, region: str) -> list[Link]:
        """All links with one end in a region."""
        return [link for route, link in self._links if region in route.regions]

    def are_connected(self, one: str, other: str) -> bool:
        """True if bytes get from one region to another."""
        return one == other or all(not link.is_cut for link in self._between(one, other))

    def bytes_delivered(self, region: str) -> int:
        """What has got into and out of a region so far. Does not move while it is cut off."""
        return sum(link.counters.bytes_delivered for link in self.links_of(region))

    def _between(self, one: str, other: str) -> Iterable[Link]:
        return (link for route, link in self._links if route.regions == {one, other})
