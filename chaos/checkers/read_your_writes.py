"""A worker that carries its token sees its own acknowledged writes."""

from chaos.checkers.violation import Breach, Violation
from chaos.history import History, Kind, Operation, Result


def check(history: History) -> list[Violation]:
    """Judges reads that carry a token and began after the write ended. Workers do one thing at a time."""
    own: dict[tuple[str, str], Operation] = {}
    deleted = history.deleted_keys()
    problems: list[str] = []
    for operation in sorted(history, key=lambda o: o.start_s):
        mine = own.get((operation.worker, operation.key))
        if operation.is_write and operation.result is Result.OK:
            own[operation.worker, operation.key] = operation
        elif operation.kind is Kind.READ and operation.result is Result.OK and operation.carried and mine is not None:
            gone = operation.mod_revision == 0 and (operation.key in deleted or mine.kind is Kind.DELETE)
            if operation.mod_revision < mine.revision and not gone:
                problems.append(f"{operation} came after its own {mine}")
    return [Violation(Breach.CAUSAL, problem) for problem in problems]
