"""When does a leader transfer leadership to a voter of a more preferred region?

Not before that voter has kept up for a while without interruption, and the longer that while, the more often it has
disappointed: so one that comes and goes does not pull leadership back and forth. Plain values in, a name out.
"""

from collections.abc import Callable, Mapping
from typing import Final

from replicator.model.ids import EntryCount, NodeId

LAG_ENTRIES_MAX: Final = 1000  # what is in flight on a line of 220 ms, at 1000 commits a second, is a quarter of it
DOUBLINGS_MAX: Final = 6  # of the patience with one voter


class LeaderPreference:
    """One node's judgement, asked in each turn. Time is `now_s`, of any one clock that does not go back.

    rank: of a voter's region, 0 the most preferred. The patience that `step` is given doubles for a voter, up to
    2 ** DOUBLINGS_MAX of it, when a try fails, or succeeds and leadership is lost again within that longest patience;
    it is as in the beginning once that voter has led for so long.
    """

    def __init__(self, node_id: NodeId, *, rank: Callable[[NodeId], int]) -> None:
        self._node_id, self._rank = node_id, rank
        self._doublings: dict[NodeId, int] = {}
        self._keeps_up_since_s: dict[NodeId, float] = {}
        self._handed_over: tuple[NodeId, float] | None = None

    def step(
        self, now_s: float, *, leader: NodeId | None, lags: Mapping[NodeId, EntryCount], patience_s: float
    ) -> NodeId | None:
        """The voter to transfer leadership to, or None.

        patience_s: how long a voter must keep up before it is trusted, if it has never disappointed.
        lags: of the voters that this leader reaches and that can follow its log, without those that need a snapshot.
        The caller must start that transfer, and report its result with `failed` or `handed_over`.
        """
        self._judge(now_s, leader, patience_s)
        if leader != self._node_id:
            self._keeps_up_since_s.clear()
            return None
        mine = self._rank(self._node_id)
        self._keeps_up_since_s = {
            voter: self._keeps_up_since_s.get(voter, now_s)
            for voter, lag in lags.items()
            if lag <= LAG_ENTRIES_MAX and self._rank(voter) < mine
        }
        trusted = [
            voter
            for voter, since_s in self._keeps_up_since_s.items()
            if now_s - since_s >= patience_s * self.patience_with(voter)
        ]
        if not trusted:
            return None
        chosen = min(trusted, key=lambda voter: (self._rank(voter), voter))
        del self._keeps_up_since_s[chosen]  # should it fail, its time begins anew
        return chosen

    def patience_with(self, voter: NodeId) -> int:
        """How many times as long as others it must keep up before it is tried."""
        return 1 << self._doublings.get(voter, 0)

    def failed(self, voter: NodeId) -> None:
        """The try that `step` asked for has not made it the leader."""
        self._doublings[voter] = min(self._doublings.get(voter, 0) + 1, DOUBLINGS_MAX)

    def handed_over(self, voter: NodeId, now_s: float) -> None:
        """It leads."""
        self._handed_over = voter, now_s

    def _judge(self, now_s: float, leader: NodeId | None, patience_s: float) -> None:
        if self._handed_over is None or leader is None:
            return
        voter, since_s = self._handed_over
        if now_s - since_s >= patience_s * 2**DOUBLINGS_MAX:
            self._handed_over = None
            self._doublings.pop(voter, None)
        elif leader != voter:
            self._handed_over = None
            self.failed(voter)
