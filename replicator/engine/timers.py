"""The timers in force at this node. Everything in this room reads them here, each time anew.

With the profile `auto` they change while the node runs: the leader proposes, the log agrees, and every node sets them
when it applies that entry. The settings only say what to start with. Why changing them endangers nothing is told in
docs/raft.md, "Timers".
"""

from collections.abc import Callable

from replicator.config.timing import RaftTiming
from replicator.core.auto_timing import TimingMs
from replicator.engine.graft import Graft
from replicator.v1 import store_pb2


def timing_of_wire(timing: store_pb2.Timing) -> RaftTiming:
    """Timers as the log has them. Raises ConfigError if they are none that a node may use."""
    return timing_of_ms(TimingMs(timing.heartbeat_ms, timing.election_timeout_min_ms, timing.election_timeout_max_ms))


def timing_to_wire(timing: RaftTiming) -> store_pb2.Timing:
    """For the log, in whole milliseconds."""
    return store_pb2.Timing(**in_ms(timing)._asdict())


class Timers:
    """Timers in force. Outlives a replica that is born anew."""

    def __init__(self, start: RaftTiming) -> None:
        self._timing = start
        self._tell: Callable[[RaftTiming], None] = lambda _timing: None

    @property
    def timing(self) -> RaftTiming:
        """As of now; ask again the next time."""
        return self._timing

    def set(self, timing: RaftTiming) -> None:
        """The group has agreed on these: an entry that says so is applied here, or was before this start."""
        self._timing = timing
        self._tell(timing)

    def bind(self, graft: Graft) -> None:
        """The engine that shall keep these."""
        self._tell = graft.set_timing
        graft.set_timing(self._timing)


def in_ms(timing: RaftTiming) -> TimingMs:
    """Rounded to whole milliseconds."""
    seconds = (timing.heartbeat_s, timing.election_timeout_min_s, timing.election_timeout_max_s)
    return TimingMs(*(round(each * 1000) for each in seconds))


def timing_of_ms(timing: TimingMs) -> RaftTiming:
    """Raises ConfigError if they are none that a node may use."""
    return RaftTiming(*(milliseconds / 1000 for milliseconds in timing))
