"""The checker of watches finds each kind of violation, planted by hand, and accepts what is right."""

from dataclasses import replace

import pytest

from chaos.checkers import watched_changes
from chaos.checkers.violation import Breach
from chaos.checkers.watched_changes import Watched
from replicator.model.changes import Change, ChangeBatch, ChangeKind


def a_change(revision: int, position: int = 0, key: bytes = b"k") -> Change:
    return Change(ChangeKind.PUT, key, b"%d" % revision, revision, position, 1, revision, 1)


ONE, TWO, THREE = a_change(1), a_change(2), a_change(3)
PAIR = (a_change(4, 0, b"a"), a_change(4, 1, b"b"))
TRUTH = (ONE, TWO, THREE, *PAIR)


def a_batch(*changes: Change, revision: int = 0) -> ChangeBatch:
    last = changes[-1].revision if changes else 0
    return ChangeBatch(tuple(changes), revision or last, "token", caught_up=True)


def found(*batches: ChangeBatch, first: int = 1) -> list[tuple[Breach, str]]:
    violations = watched_changes.check(Watched("w", first, batches=list(batches)), TRUTH)
    return [(violation.breach, violation.message) for violation in violations]


def test_what_is_right_is_accepted() -> None:
    assert found(a_batch(ONE), a_batch(revision=1), a_batch(TWO, THREE), a_batch(*PAIR), a_batch(revision=9)) == []
    assert found(a_batch(), a_batch(*PAIR), first=4) == []
    wanted = Watched("w", 1, lambda change: change.key == b"b", [a_batch(revision=3), a_batch(PAIR[1])])
    assert watched_changes.check(wanted, TRUTH) == []


@pytest.mark.parametrize(
    ("batches", "breach", "words"),
    [
        ([a_batch(ONE), a_batch(THREE)], Breach.LOST, "change 2.0"),
        ([a_batch(ONE, TWO), a_batch(revision=3)], Breach.LOST, "change 3.0"),
        ([a_batch(ONE), a_batch(ONE)], Breach.DUPLICATED, "1.0"),
        ([a_batch(ONE, TWO), a_batch(ONE, revision=2)], Breach.DUPLICATED, "1.0"),
        ([a_batch(ONE, THREE, TWO, revision=3)], Breach.CAUSAL, "change 2.0 (put b'k') came after 3.0"),
        ([a_batch(ONE), a_batch(TWO), a_batch(revision=1)], Breach.CAUSAL, "revision 1 promised after 2"),
        ([a_batch(ONE, TWO, THREE), a_batch(PAIR[0], revision=3), a_batch(PAIR[1])], Breach.CAUSAL, "1 of the 2"),
        ([a_batch(replace(ONE, value=b"other"))], Breach.WRONG, "1.0"),
        ([a_batch(ONE, TWO, THREE, *PAIR, a_change(5))], Breach.WRONG, "5.0"),
    ],
)
def test_a_violation_is_found(batches: list[ChangeBatch], breach: Breach, words: str) -> None:
    assert any(kind is breach and words in message for kind, message in found(*batches)), found(*batches)
