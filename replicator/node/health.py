"""The state of a node, and its answers to readiness probes."""

from enum import Enum
from typing import Protocol

from replicator.console.pages import ProbeAnswer
from replicator.model.conditions import Condition
from replicator.model.ids import LogIndex, NodeId
from replicator.model.status import EngineStatus


class Phase(Enum):
    """Only ever moves forward."""

    STARTING = 1
    SERVING = 2
    DRAINING = 3
    FAILED = 4


class Replica(Protocol):
    """What health needs of the engine."""

    @property
    def is_caught_up(self) -> bool: ...

    @property
    def applied_index(self) -> LogIndex: ...

    def status(self) -> EngineStatus: ...


class NodeHealth:
    """Answers probes from memory. Implements `console.Probes`.

    Catching up is a gate at start only: a node that later loses its leader still serves the reads that callers may
    want, and says in the answer what is missing. One that its group has removed receives no more updates, and its data
    only get older, so it is not ready.
    """

    def __init__(self, replica: Replica, node_id: NodeId) -> None:
        self._replica = replica
        self._node_id = node_id
        self._phase = Phase.STARTING
        self._failure = ""
        self._was_caught_up = False

    @property
    def phase(self) -> Phase:
        """Where the node is in its life."""
        return self._phase

    def enter(self, phase: Phase, *, failure: str = "") -> None:
        """Moves on. failure: why, for FAILED."""
        assert phase.value > self._phase.value, f"{self._phase} cannot become {phase}"
        self._phase = phase
        self._failure = failure

    def live(self) -> ProbeAnswer:
        """See Probes."""
        if self._phase is Phase.FAILED:
            return ProbeAnswer(False, f"{Condition.FAILED}: {self._failure}")
        return ProbeAnswer(True, "live")

    def started(self) -> ProbeAnswer:
        """See Probes."""
        if self._phase is Phase.STARTING:
            return ProbeAnswer(False, Condition.STARTING)
        return ProbeAnswer(True, "started")

    def ready(self) -> ProbeAnswer:
        """See Probes."""
        match self._phase:
            case Phase.STARTING:
                return ProbeAnswer(False, Condition.STARTING)
            case Phase.DRAINING:
                return ProbeAnswer(False, f"{Condition.DRAINING}: other nodes answer")
            case Phase.FAILED:
                return ProbeAnswer(False, f"{Condition.FAILED}: {self._failure}")
            case Phase.SERVING:
                return self._ready_while_serving()

    def _ready_while_serving(self) -> ProbeAnswer:
        status = self._replica.status()
        leader = f"leader {status.leader_id}" if status.leader_id else Condition.NO_LEADER
        if self._is_removed(status):
            return ProbeAnswer(False, f"{Condition.REMOVED} (membership of index {status.membership.index})")
        if status.refused_by:
            return ProbeAnswer(
                False,
                f"{Condition.REJECTED} {status.refused_by}: this node was removed, or its data directory is not the "
                "one that the group knows; the log says which",
            )
        missing = f"; {Condition.NO_MAJORITY}: {status.no_majority}" if status.no_majority else ""
        behind = f"; {status.snapshot_problem}" if status.snapshot_problem else ""
        limits = f"; {Condition.READ_ONLY}: {status.read_only_reason}" if status.read_only_reason else ""
        if not self._was_caught_up:
            if not self._replica.is_caught_up:
                progress = f"applied {self._replica.applied_index}, {leader}"
                return ProbeAnswer(False, f"{Condition.CATCHING_UP}: {progress}{missing}{behind}{limits}")
            self._was_caught_up = True
        return ProbeAnswer(True, f"ready: {leader}{missing}{behind}{limits}")

    def _is_removed(self, status: EngineStatus) -> bool:
        """A node that joins meets memberships older than itself: as long as a leader sends them, it is catching up."""
        is_named = status.membership.index == 0 or status.membership.get(self._node_id) is not None
        return not is_named and (self._was_caught_up or not status.leader_id)
