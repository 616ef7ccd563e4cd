"""A watch shows every change once, in order, a revision never split, and promises nothing that it has not shown.

The truth is the list of all changes, as a replica's whole history tells it. What is judged is what one watcher was
handed, batch by batch, over all of its reconnections.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from chaos.checkers.violation import Breach, Violation
from replicator.model.changes import Change, ChangeBatch

Place = tuple[int, int]


@dataclass
class Watched:
    """What one watcher was handed. first: the revision that it began at. wants: of a change."""

    name: str
    first: int
    wants: Callable[[Change], bool] = lambda _: True
    batches: list[ChangeBatch] = field(default_factory=list)


def check(watched: Watched, truth: Iterable[Change]) -> list[Violation]:
    """truth: complete from `watched.first` to the last revision that a batch promises."""
    expected = {
        _place(change): change for change in truth if change.revision >= watched.first and watched.wants(change)
    }
    return [
        *_out_of_order(watched),
        *_split(watched, expected.values()),
        *_untrue(watched, expected),
        *_missing(watched, expected),
    ]


def _place(change: Change) -> Place:
    return change.revision, change.position


def _out_of_order(watched: Watched) -> list[Violation]:
    found: list[Violation] = []
    last: Place = (0, -1)
    promised = 0
    for batch in watched.batches:
        for change in batch.changes:
            at = _place(change)
            if at == last or at[0] <= promised:
                found.append(_violation(Breach.DUPLICATED, watched, f"change {_named(change)} was shown again"))
            elif at < last:
                found.append(
                    _violation(Breach.CAUSAL, watched, f"change {_named(change)} came after {last[0]}.{last[1]}")
                )
            last = max(last, at)
        if batch.revision and batch.revision < promised:
            found.append(_violation(Breach.CAUSAL, watched, f"revision {batch.revision} promised after {promised}"))
        promised = max(promised, batch.revision)
    return found


def _split(watched: Watched, expected: Iterable[Change]) -> list[Violation]:
    """A batch that shows one change of a revision shows all that are wanted of it."""
    count_of: dict[int, int] = {}
    for change in expected:
        count_of[change.revision] = count_of.get(change.revision, 0) + 1
    found: list[Violation] = []
    for batch in watched.batches:
        shown: dict[int, int] = {}
        for change in batch.changes:
            shown[change.revision] = shown.get(change.revision, 0) + 1
        found += [
            _violation(Breach.CAUSAL, watched, f"a batch shows {count} of the {count_of[number]} changes of {number}")
            for number, count in shown.items()
            if count < count_of.get(number, 0)
        ]
    return found


def _untrue(watched: Watched, expected: dict[Place, Change]) -> list[Violation]:
    return [
        _violation(Breach.WRONG, watched, f"change {_named(change)} is not what the store holds there")
        for batch in watched.batches
        for change in batch.changes
        if expected.get(_place(change)) != change
    ]


def _missing(watched: Watched, expected: dict[Place, Change]) -> list[Violation]:
    shown = {_place(change) for batch in watched.batches for change in batch.changes}
    promised = max((batch.revision for batch in watched.batches), default=0)
    return [
        _violation(Breach.LOST, watched, f"change {_named(change)} is missing, revision {promised} was promised")
        for at, change in sorted(expected.items())
        if at[0] <= promised and at not in shown
    ]


def _named(change: Change) -> str:
    return f"{change.revision}.{change.position} ({change.kind.value} {change.key!r})"


def _violation(breach: Breach, watched: Watched, problem: str) -> Violation:
    return Violation(breach, f"watcher {watched.name} from {watched.first}: {problem}")


def joined(batches: Sequence[ChangeBatch]) -> tuple[Change, ...]:
    """All changes of some batches, in the order in which they came."""
    return tuple(change for batch in batches for change in batch.changes)
