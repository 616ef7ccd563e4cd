"""Brings leadership to the preferred region, by transfer: shows core/leader_preference.py what a leader sees."""

from functools import partial
from typing import Final

from replicator.core.leader_preference import LeaderPreference
from replicator.engine.core import ReplicaCore
from replicator.engine.leading.transfer import TransferRequest, Transfers
from replicator.model.errors import ReplicatorError
from replicator.model.ids import EntryCount, NodeId

PATIENCE_TIMEOUTS: Final = 10.0  # greatest election timeouts for which a voter must keep up before it is trusted


class Preference:
    """Does nothing where no region is preferred."""

    def __init__(self, core: ReplicaCore, transfers: Transfers) -> None:
        self._group, self._graft, self._journal, self._pump = core.group, core.graft, core.journal, core.pump
        self._timers, self._clock, self._transfers = core.timers, core.clock, transfers
        self._is_wanted = bool(core.settings.leader_preference)
        self._decider = LeaderPreference(core.settings.node_id, rank=core.group.preference_rank)

    def step(self) -> None:
        """Called in each turn, before transfers take their step. A leader's heartbeats make turns often enough."""
        if not self._is_wanted:
            return
        now_s = self._clock.monotonic_s()
        patience_s = PATIENCE_TIMEOUTS * self._timers.agreed.election_timeout_max_s
        chosen = self._decider.step(now_s, leader=self._graft.leader, lags=self._lags(), patience_s=patience_s)
        if chosen is None:
            return
        try:
            request = TransferRequest(node_id=chosen, why="preference", timeout_s=patience_s)
            self._transfers.begin(request, partial(self._heard, chosen))
        except ReplicatorError:
            self._decider.failed(chosen)

    def _lags(self) -> dict[NodeId, EntryCount]:
        if not self._graft.is_leader:
            return {}
        last = self._journal.last_index
        fit = self._pump.linked & self._group.other_voters - self._pump.lacking()
        return {peer: EntryCount(last - self._graft.match_index(peer)) for peer in sorted(fit)}

    def _heard(self, chosen: NodeId, result: NodeId | ReplicatorError) -> None:
        if result == chosen:
            self._decider.handed_over(chosen, self._clock.monotonic_s())
        else:
            self._decider.failed(chosen)
