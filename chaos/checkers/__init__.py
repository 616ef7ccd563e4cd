"""One promise to clients, one file: pure functions from a recorded history to the violations in it.

They judge simulated and real runs alike, and cost O(n log n) at most. A checker is trusted only because its tests plant
the violation that it exists for. UNKNOWN outcomes may or may not show, are never lost, and count once at most.
"""

from chaos.checkers import (
    causal_reads,
    convergence,
    counters,
    exactly_once,
    linearizable_reads,
    monotonic_reads,
    no_lost_ack,
    no_lost_update,
    one_revision,
    read_your_writes,
    true_values,
)
from chaos.checkers.violation import Violation
from chaos.history import History

ALL = (
    no_lost_ack,
    exactly_once,
    counters,
    no_lost_update,
    one_revision,
    causal_reads,
    linearizable_reads,
    read_your_writes,
    monotonic_reads,
    true_values,
    convergence,
)


def check_all(history: History) -> list[Violation]:
    """Every violation of every promise."""
    return [violation for checker in ALL for violation in checker.check(history)]


__all__ = [
    "ALL",
    "Violation",
    "causal_reads",
    "check_all",
    "convergence",
    "counters",
    "exactly_once",
    "linearizable_reads",
    "monotonic_reads",
    "no_lost_ack",
    "no_lost_update",
    "one_revision",
    "read_your_writes",
    "true_values",
]
