"""A number that is only ever added to equals what was acknowledged, plus some of what is unknown."""

from collections import defaultdict

from chaos.checkers.violation import Breach, Violation
from chaos.history import History, Result


def check(history: History) -> list[Violation]:
    """Looks at keys whose writes say by which `amount` they add. Amounts are positive."""
    acknowledged: dict[str, int] = defaultdict(int)
    unknown: dict[str, int] = defaultdict(int)
    for write in history.writes(Result.OK, Result.UNKNOWN):
        if write.amount:
            (acknowledged if write.result is Result.OK else unknown)[write.key] += write.amount
    problems: list[Violation] = []
    for copy in history.copies:
        for key in sorted({*acknowledged, *unknown}):
            pair = copy.pairs.get(key)
            held, least, most = int(pair.value) if pair else 0, acknowledged[key], acknowledged[key] + unknown[key]
            if held < least:
                text = f"{key} is {held} on {copy.node}, but {least} was added and acknowledged"
                problems.append(Violation(Breach.LOST, text))
            elif held > most:
                text = f"{key} is {held} on {copy.node}, but only {most} can have been added"
                problems.append(Violation(Breach.DUPLICATED, text))
    return problems
