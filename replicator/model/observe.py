"""Signals as a port: rooms say what happened, `telemetry/` makes metrics of it. Names are in `Signal`, nowhere else."""

from enum import Enum
from typing import Protocol


class Signal(Enum):
    """Every metric of a node; the value is its exported name, the unit is part of it."""

    COMMIT_S = "replicator.storage.commit_s"  # histogram: one durable commit, apply included
    TURN_ENTRIES_APPLIED = "replicator.engine.turn_entries_applied"  # histogram
    PROPOSALS = "replicator.engine.proposals"  # counter by outcome
    ROLE_CHANGES = "replicator.engine.role_changes"  # counter by role
    STATE_DIFFERENCES = "replicator.engine.state_differences"  # counter by node
    FRAMES_DROPPED = "replicator.engine.frames_dropped"  # counter by cause
    APPENDS_REJECTED = "replicator.engine.appends_rejected"  # counter
    DUPLICATES_SUPPRESSED = "replicator.machine.duplicates_suppressed"  # counter
    CALL_S = "replicator.api.call_s"  # histogram by method and code
    NEW_CLIENTS_REFUSED = "replicator.api.new_clients_refused"  # counter
    BATCH_OPERATIONS = "replicator.api.batch_operations"  # counter by kind
    CHANGES_SENT = "replicator.api.changes_sent"  # counter: to watches, each for each of them
    CONNECTIONS_CLOSED = "replicator.node.connections_closed"  # counter by port and cause
    CONNECTIONS_SILENT = "replicator.api.connections_silent"  # counter
    LOOP_LAG_S = "replicator.node.loop_lag_s"  # histogram


class Observer(Protocol):
    """Cheap enough for hot paths; never raises."""

    def count(self, signal: Signal, amount: int = 1, **labels: str) -> None: ...

    def record(self, signal: Signal, value: float, **labels: str) -> None: ...


class SilentObserver:
    """Used where nobody listens: offline tools, simulation, unit tests."""

    def count(self, signal: Signal, amount: int = 1, **labels: str) -> None:
        """Counts nothing."""

    def record(self, signal: Signal, value: float, **labels: str) -> None:
        """Records nothing."""
