"""Timers that the leader proposes with the profile `auto`: only the leader measures round trips to all members.

The decision is core's. Here is only whom it asks about, how often, and that one proposal is given time.
"""

from typing import Final

from replicator.config.timing import RaftTiming
from replicator.core.auto_timing import AutoTimer, TimingMs, round_trip_to_cover_s
from replicator.core.struggle import Struggle
from replicator.engine.core import ReplicaCore
from replicator.engine.raft.progress import Progress
from replicator.engine.raft.timers import in_ms, timing_of_ms
from replicator.model.ids import Term

DECIDE_EVERY_S: Final = 0.5
PROPOSE_AGAIN_S: Final = 5.0  # a proposal may be lost with its term, or wait for a majority
SAMPLES_MIN: Final = 16  # until then the first guess of the spread still counts: RFC 6298 begins with half a round trip
UNHEARD_S_MAX: Final = 10.0  # who has not answered for so long is not there


class TimingChanges:
    """What the leader should propose, from the round trips of its appends. Silent elsewhere, and with fixed timers."""

    def __init__(self, core: ReplicaCore) -> None:
        self._settings, self._timers = core.settings, core.timers
        self._group, self._graft, self._pump = core.group, core.graft, core.pump
        self._timer, self._struggle = AutoTimer(), Struggle()
        self._watching: Term | None = None
        self._decide_s = float("-inf")
        self._proposed: tuple[RaftTiming, float] | None = None  # what was agreed then, and when

    def step(self, now_s: float) -> RaftTiming | None:
        """Called in each turn. Timers to propose now; once they are, the group is given time to agree on them."""
        if not self._settings.auto_timing:
            return None
        timeout_s = self._timers.timing.election_timeout_max_s
        self._timers.stretch(self._struggle.look(now_s, settled=self._pump.term_is_committed(), timeout_s=timeout_s))
        leads = self._graft.term if self._graft.is_leader else None
        if leads != self._watching:
            self._watching, self._proposed = leads, None
            self._timer.forget()
        if leads is None or now_s < self._decide_s:
            return None
        self._decide_s = now_s + DECIDE_EVERY_S
        wanted = self._decide(now_s)
        if wanted is None or self._is_under_way(now_s):
            return None
        self._proposed = self._timers.agreed, now_s
        return timing_of_ms(wanted)

    def _decide(self, now_s: float) -> TimingMs | None:
        others = [self._pump.progress[peer] for peer in sorted(self._group.other_voters)]
        known_s = [progress.round_trip.upper_s for progress in others if _is_known(progress, now_s)]
        round_trip_s = round_trip_to_cover_s(known_s, voters=len(others) + 1)
        if round_trip_s is None:
            self._timer.forget()
            return None
        return self._timer.decide(now_s, in_ms(self._timers.agreed), round_trip_s)

    def _is_under_way(self, now_s: float) -> bool:
        if self._proposed is None:
            return False
        agreed, at_s = self._proposed
        return agreed == self._timers.agreed and now_s < at_s + PROPOSE_AGAIN_S


def _is_known(progress: Progress, now_s: float) -> bool:
    return progress.round_trip.samples >= SAMPLES_MIN and progress.acked_sent_s >= now_s - UNHEARD_S_MAX
