"""Once all is quiet, every node holds the same."""

from chaos.checkers.violation import Breach, Violation
from chaos.history import FinalCopy, History


def check(history: History) -> list[Violation]:
    """Compares every node with the first: position, hashes, and every pair."""
    if not history.copies:
        return []
    first, *others = history.copies
    return [Violation(Breach.DIVERGED, problem) for other in others for problem in _differences(first, other)]


def _differences(one: FinalCopy, other: FinalCopy) -> list[str]:
    problems = [
        f"{one.node} and {other.node} differ in their {what}: {mine} and {theirs}"
        for what, mine, theirs in (
            ("applied index", one.applied_index, other.applied_index),
            ("rolling hash", one.rolling_hash, other.rolling_hash),
            ("state hash", one.state_hash, other.state_hash),
        )
        if mine != theirs
    ]
    problems += [
        f"{one.node} and {other.node} differ in {key}"
        for key in sorted({*one.pairs, *other.pairs})
        if one.pairs.get(key) != other.pairs.get(key)
    ]
    return problems
