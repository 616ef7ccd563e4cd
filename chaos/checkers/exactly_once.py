"""A write takes effect once if acknowledged, at most once if its outcome is unknown, never if it failed."""

from collections import Counter
from collections.abc import Iterator

from chaos.checkers.elements import count_elements, results_by_element
from chaos.checkers.violation import Breach, Violation
from chaos.history import FinalCopy, History, Result


def check(history: History) -> list[Violation]:
    """The version of a key counts the writes that took effect, so it gives away every repetition."""
    problems = [*_shared_revisions(history)]
    for copy in history.copies:
        problems += [*_too_many_versions(history, copy), *_repeated_elements(history, copy)]
    return [Violation(Breach.DUPLICATED, problem) for problem in problems]


def _shared_revisions(history: History) -> Iterator[str]:
    """Each revision is made by one write."""
    by_revision: dict[int, str] = {}
    for write in history.writes(Result.OK):
        if write.revision in by_revision:
            yield f"{write} and {by_revision[write.revision]} were acknowledged with one revision"
        by_revision[write.revision] = str(write)


def _too_many_versions(history: History, copy: FinalCopy) -> Iterator[str]:
    deleted = history.deleted_keys()
    possible = Counter(write.key for write in history.writes(Result.OK, Result.UNKNOWN))
    for key, pair in copy.pairs.items():
        if key not in deleted and pair.version > possible[key]:
            yield f"at most {possible[key]} writes to {key} can have happened, but {copy.node} counts {pair.version}"


def _repeated_elements(history: History, copy: FinalCopy) -> Iterator[str]:
    for key, elements in results_by_element(history).items():
        for element, count in count_elements(copy, key).items():
            results = elements.get(element, frozenset())
            if count > 1:
                yield f"{element} is {count} times in {key} on {copy.node}"
            elif results == {Result.FAILED} or not results:
                yield f"{element} is in {key} on {copy.node}, but " + (
                    "every attempt to add it failed" if results else "nobody added it"
                )
