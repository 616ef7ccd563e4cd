"""A read that carries a token sees at least what the giver of the token had seen, in whatever region it is answered."""

from chaos.checkers.tokens import Covered, covered_by_token, revision_of_key
from chaos.checkers.violation import Breach, Violation
from chaos.history import History, Operation


def check(history: History) -> list[Violation]:
    """Both the state and, if the token covers the very key, the pair. Raises KeyError on a token of nowhere."""
    covered = covered_by_token(history)
    deleted = history.deleted_keys()
    return [
        Violation(Breach.CAUSAL, problem)
        for read in history.reads()
        if read.carried and (problem := _problem(read, covered[read.carried], deleted)) is not None
    ]


def _problem(read: Operation, covered: Covered, deleted: frozenset[str]) -> str | None:
    where = f"{read.node or 'a node'} in {read.answered_in or read.region}"
    if read.revision < covered.revision:
        return f"{read} carried a token of revision {covered.revision}, but {where} answered from {read.revision}"
    seen = covered.keys.get(read.key)
    if seen is None or read.mod_revision >= revision_of_key(seen):
        return None
    if read.mod_revision == 0 and read.key in deleted:
        return None
    return f"{read} carried the token of {seen}, but {where} answered with the older @{read.mod_revision}"
