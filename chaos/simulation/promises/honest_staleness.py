"""A replica that says how stale it is has applied everything that was acknowledged before that.

It counts seconds by its own clock, and the age of the leader's quorum by the leader's; each may run 500 ppm slow. So a
claim of 10 s may be 10 ms short: that much of the bound is the clocks', and the promise is made up to it.
"""

from bisect import bisect_left

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records, Standing
from chaos.simulation.promises.violation import broken

CLOCK_ERROR_S = 1e-6  # of adding and subtracting seconds; stamps are rounded towards caution
DRIFT_MAX = 2 * 500e-6  # of the follower's clock and the leader's


class HonestStaleness(Promise):
    """Asked of every node after each of its turns, and whenever a follower hears a heartbeat."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._times_s: list[float] = []  # when a higher index than ever before was acknowledged
        self._indexes: list[int] = []

    @property
    def index_max(self) -> int:
        """The highest index acknowledged to anyone."""
        return self._indexes[-1] if self._indexes else 0

    def acknowledged(self, index: int, now_s: float) -> None:
        """A caller was told of an entry."""
        if index > self.index_max:
            self._times_s.append(now_s)
            self._indexes.append(index)

    def turned(self, node: SimNode, standing: Standing) -> None:
        assert node.replica is not None
        self.claims(node, node.replica.staleness_s(), standing.applied_index)

    def claims(self, node: SimNode, staleness_s: float | None, applied_index: int) -> None:
        """What a node shows now, up to `applied_index`, is no older than that, it says. None: it does not know."""
        if staleness_s is None:
            return
        place = bisect_left(self._times_s, node.timeline.now_s - staleness_s * (1.0 + DRIFT_MAX) - CLOCK_ERROR_S)
        owed = self._indexes[place - 1] if place else 0
        if applied_index < owed:
            raise broken(
                node,
                f"claims to be {staleness_s:.3f} s stale at {applied_index}, but {owed} was acknowledged before that",
            )
