"""The timers in force at this node. Everything in this room reads them here, each time anew.

With the profile `auto` they change while the node runs: the leader proposes, the log agrees, and every node sets them
when it applies that entry. The settings only say what to start with. Why changing them endangers nothing is told in
docs/raft.md, "Timers".
"""

from collections.abc import Callable

from replicator.config.timing import RaftTiming
from replicator.core.auto_timing import ELECTION_MS_MAX, TimingMs
from replicator.engine.raft.role_log import note_timers
from replicator.engine.stock.graft import Graft
from replicator.v1 import store_pb2


def timing_of_wire(timing: store_pb2.Timing) -> RaftTiming:
    """Timers as the log has them. Raises ConfigError if they are none that a node may use."""
    return timing_of_ms(TimingMs(timing.heartbeat_ms, timing.election_timeout_min_ms, timing.election_timeout_max_ms))


def timing_to_wire(timing: RaftTiming) -> store_pb2.Timing:
    """For the log, in whole milliseconds."""
    return store_pb2.Timing(**in_ms(timing)._asdict())


class Timers:
    """Timers in force: those that are agreed, or longer ones while this node struggles. Outlives a replica."""

    def __init__(self, start: RaftTiming) -> None:
        self._agreed = self._in_force = start
        self._factor = 1
        self._tell: Callable[[RaftTiming], None] = lambda _timing: None

    @property
    def timing(self) -> RaftTiming:
        """In force now; ask again the next time."""
        return self._in_force

    @property
    def agreed(self) -> RaftTiming:
        """Of the group."""
        return self._agreed

    def set(self, timing: RaftTiming) -> None:
        """The group has agreed on these: an entry that says so is applied here, or was before this start."""
        before, self._agreed = self._agreed, timing
        if timing != before:
            note_timers(in_ms(before), in_ms(timing))
        self._refresh()

    def stretch(self, factor: int) -> None:
        """Waits that many times longer for a leader than agreed, within what is ever derived. Beats as agreed."""
        if factor != self._factor:
            self._factor = factor
            self._refresh()

    def bind(self, graft: Graft) -> None:
        """The engine that uses these timers."""
        self._tell = graft.set_timing
        self._refresh()

    def _refresh(self) -> None:
        agreed_s, bound_s = self._agreed.election_timeout_min_s, ELECTION_MS_MAX / 1000
        least_s = max(agreed_s, min(self._factor * agreed_s, bound_s))
        greatest_s = max(self._agreed.election_timeout_max_s, 2 * least_s if self._factor > 1 else 0.0)
        self._in_force = RaftTiming(self._agreed.heartbeat_s, least_s, greatest_s)
        self._tell(self._in_force)


def in_ms(timing: RaftTiming) -> TimingMs:
    """Rounded to whole milliseconds."""
    seconds = (timing.heartbeat_s, timing.election_timeout_min_s, timing.election_timeout_max_s)
    return TimingMs(*(round(each * 1000) for each in seconds))


def timing_of_ms(timing: TimingMs) -> RaftTiming:
    """Raises ConfigError if they are none that a node may use."""
    return RaftTiming(*(milliseconds / 1000 for milliseconds in timing))
