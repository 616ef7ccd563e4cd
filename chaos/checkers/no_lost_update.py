"""A compare-and-set replaces exactly the state that it names: nobody's update is overwritten unseen."""

from collections import defaultdict

from chaos.checkers.violation import Breach, Violation
from chaos.history import History, Kind, Operation, Result


def check(history: History) -> list[Violation]:
    """Among acknowledged writes of a key, in order of revision, none lies between a swap and what it replaced."""
    by_key: dict[str, list[Operation]] = defaultdict(list)
    for write in history.writes(Result.OK):
        by_key[write.key].append(write)
    perhaps_deleted = history.perhaps_deleted_keys()
    problems: list[str] = []
    for writes in by_key.values():
        writes.sort(key=lambda write: write.revision)
        for before, swap in zip([None, *writes], writes, strict=False):
            if swap.kind is not Kind.COMPARE_AND_SET or swap.expected_revision is None:
                continue
            if swap.expected_revision == 0 and swap.key in perhaps_deleted:
                continue
            if before is not None and before.kind is not Kind.DELETE and before.revision > swap.expected_revision:
                problems.append(f"{swap} replaced @{swap.expected_revision}, and so overwrote {before} unseen")
            elif swap.expected_revision >= swap.revision:
                problems.append(f"{swap} says that it replaced @{swap.expected_revision}, which came after it")
    return [Violation(Breach.WRONG, problem) for problem in problems]
