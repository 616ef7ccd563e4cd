"""Hand leadership to a caught-up follower before leaving it (Ongaro 2014, 3.10).

While a transfer runs the leader appends nothing new, so the target can catch up and win; writes wait in the queue and
go to the new leader, or are admitted here again when the transfer is given up.
"""

from dataclasses import dataclass

from replicator.engine.graft import Graft
from replicator.engine.group import Group
from replicator.engine.journal import TurnJournal
from replicator.engine.proposals import Proposals
from replicator.engine.pump import Pump
from replicator.model.clock import Clock
from replicator.model.ids import NodeId


@dataclass(slots=True)
class _Transfer:
    target: NodeId | None
    until_s: float
    asked: NodeId | None = None


class Transfers:
    """At most one at a time."""

    def __init__(
        self, *, group: Group, graft: Graft, journal: TurnJournal, pump: Pump, proposals: Proposals, clock: Clock
    ) -> None:
        self._group, self._graft, self._journal, self._pump = group, graft, journal, pump
        self._proposals, self._clock = proposals, clock
        self._transfer: _Transfer | None = None

    @property
    def under_way(self) -> bool:
        """Whether one is being tried."""
        return self._transfer is not None

    def begin(self, target: NodeId | None, timeout_s: float) -> bool:
        """Starts a transfer to `target`, or to whoever is most caught up. False if this node leads nothing."""
        if not self._graft.is_leader or not self._pump.linked:
            return False
        self._transfer = _Transfer(target, self._clock.monotonic_s() + timeout_s)
        self._proposals.paused = True
        return True

    def step(self) -> None:
        """Called in each turn: asks the target once it holds the whole log; gives up in time."""
        transfer = self._transfer
        if transfer is None:
            return
        if not self._graft.is_leader or self._clock.monotonic_s() > transfer.until_s:
            self._transfer = None
            self._proposals.paused = False
            return
        ready = [peer for peer in sorted(self._pump.linked & self._group.other_voters) if self._is_ready(peer)]
        chosen = transfer.target if transfer.target in ready else None
        if transfer.target is None and ready:
            chosen = ready[0]
        if chosen is not None and chosen != transfer.asked:
            transfer.asked = chosen
            self._graft.transfer_to(chosen)

    def _is_ready(self, peer: NodeId) -> bool:
        return self._graft.match_index(peer) == self._journal.last_index
