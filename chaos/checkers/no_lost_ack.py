"""An acknowledged write is there, on every node, for good: its value, or a later write to its key."""

from collections.abc import Iterator

from chaos.checkers.elements import count_elements, results_by_element
from chaos.checkers.violation import Breach, Violation
from chaos.history import FinalCopy, History, Kind, Result


def check(history: History) -> list[Violation]:
    """Needs final copies; deletes excuse the absence of their key. Elements are counted one by one."""
    return [
        Violation(Breach.LOST, problem)
        for copy in history.copies
        for find in (_lost_pairs, _lost_elements, _lost_versions)
        for problem in find(history, copy)
    ]


def _lost_pairs(history: History, copy: FinalCopy) -> Iterator[str]:
    deleted = history.deleted_keys()
    for write in history.writes(Result.OK):
        pair = copy.pairs.get(write.key)
        if write.kind is Kind.DELETE:
            if pair is not None and pair.mod_revision < write.revision:
                yield f"{write} was acknowledged, but {copy.node} still holds @{pair.mod_revision}"
        elif pair is None:
            if write.key not in deleted:
                yield f"{write} was acknowledged, but {copy.node} has no such key"
        elif pair.mod_revision < write.revision:
            yield f"{write} was acknowledged, but {copy.node} holds the older @{pair.mod_revision}"
        elif pair.mod_revision == write.revision and pair.value != write.value:
            yield f"{write} was acknowledged, but {copy.node} holds another value at that revision"


def _lost_elements(history: History, copy: FinalCopy) -> Iterator[str]:
    for key, elements in results_by_element(history).items():
        counts = count_elements(copy, key)
        for element, results in elements.items():
            if Result.OK in results and not counts[element]:
                yield f"{element} was added to {key} and acknowledged, but {copy.node} does not hold it"


def _lost_versions(history: History, copy: FinalCopy) -> Iterator[str]:
    deleted = history.deleted_keys()
    acknowledged: dict[str, int] = {}
    for write in history.writes(Result.OK):
        acknowledged[write.key] = acknowledged.get(write.key, 0) + 1
    for key, count in acknowledged.items():
        pair = copy.pairs.get(key)
        if key not in deleted and pair is not None and pair.version < count:
            yield f"{count} writes to {key} were acknowledged, but {copy.node} counts {pair.version}"
