"""Real-time order: a read that asked for it shows all that was acknowledged before it began, and nothing later."""

from dataclasses import replace

from chaos.checkers import check_all, linearizable_reads, no_lost_update
from chaos.checkers.violation import Breach
from chaos.history import History, Kind, Operation, Result


def a_put(revision: int, start_s: float, end_s: float, key: str = "k", result: Result = Result.OK) -> Operation:
    return Operation(
        kind=Kind.PUT, worker="w", region="eu", key=key, result=result, start_s=start_s, end_s=end_s,
        value=f"v{revision}", revision=revision, token=f"t{revision}",
    )  # fmt: skip


def a_read(revision: int, mod_revision: int, start_s: float, end_s: float, *, linearizable: bool = True) -> Operation:
    return Operation(
        kind=Kind.READ, worker="r", region="eu", key="k", result=Result.OK, start_s=start_s, end_s=end_s,
        value=f"v{mod_revision}" if mod_revision else None, revision=revision, mod_revision=mod_revision,
        linearizable=linearizable,
    )  # fmt: skip


def problems(*operations: Operation) -> list[str]:
    found = linearizable_reads.check(History.of(operations))
    assert {violation.breach for violation in found} <= {Breach.STALE}
    return [violation.message for violation in found]


def test_a_read_that_misses_an_acknowledged_write_is_found() -> None:
    old, new = a_put(1, 0, 1), a_put(2, 2, 3, key="other")
    assert len(problems(old, new, a_read(1, 1, 4, 5))) == 1
    assert problems(old, new, a_read(2, 1, 4, 5)) == []
    assert problems(old, new, a_read(1, 1, 2.5, 5)) == [], "they overlap: either is right"
    assert problems(old, new, a_read(1, 1, 4, 5, linearizable=False)) == [], "it asked for less"


def test_a_read_that_is_older_than_an_earlier_read_is_found() -> None:
    unknown = a_put(2, 2, 30, result=Result.UNKNOWN)
    assert len(problems(a_put(1, 0, 1), unknown, a_read(2, 2, 3, 4), a_read(1, 1, 5, 6))) == 1


def test_a_read_that_sees_a_write_before_it_began_is_found() -> None:
    assert len(problems(a_put(1, 0, 1), a_put(2, 5, 6), a_read(2, 2, 3, 4))) == 1


def test_a_read_that_names_a_state_and_shows_an_older_pair_is_found() -> None:
    assert len(problems(a_put(1, 0, 1), a_put(2, 2, 3), a_read(2, 1, 4, 5))) == 1


def test_all_checkers_together_include_this_one() -> None:
    stale = a_read(1, 1, 4, 5)
    assert Breach.STALE in {found.breach for found in check_all(History.of([a_put(1, 0, 1), a_put(2, 2, 3), stale]))}


def test_a_key_that_a_delete_of_unknown_outcome_may_have_removed_may_be_missing() -> None:
    """A seed found the checkers wrong here: shared keys that are deleted were new to them."""
    delete = replace(a_put(0, 3.0, 4.0, result=Result.UNKNOWN), kind=Kind.DELETE, value=None)
    swap = replace(a_put(9, 7.0, 8.0), kind=Kind.COMPARE_AND_SET, expected_revision=0)
    assert problems(a_put(5, 1.0, 2.0), delete, a_read(8, 0, 5.0, 6.0)) == []
    assert no_lost_update.check(History.of([a_put(5, 1.0, 2.0), delete, swap])) == []


def test_a_key_that_nobody_deletes_may_not_be_missing() -> None:
    swap = replace(a_put(9, 7.0, 8.0), kind=Kind.COMPARE_AND_SET, expected_revision=0)
    assert problems(a_put(5, 1.0, 2.0), a_read(8, 0, 5.0, 6.0)) != []
    assert no_lost_update.check(History.of([a_put(5, 1.0, 2.0), swap])) != []
