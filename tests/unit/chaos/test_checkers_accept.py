"""Checkers must not cry wolf: whatever a correct store records is accepted."""

import random
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.checkers import causal_reads, check_all, convergence, no_lost_ack, one_revision
from chaos.checkers.tokens import covered_by_token
from chaos.history import History, Kind, Result
from tests.support.honest_store import an_honest_history


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1 << 32))
def test_a_history_of_a_correct_store_breaks_no_promise(seed: int) -> None:
    assert check_all(an_honest_history(seed)) == []


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1 << 32))
def test_one_read_made_older_than_its_token_spoils_an_honest_history(seed: int) -> None:
    honest = an_honest_history(seed)
    covered = covered_by_token(honest)
    reads = [read for read in honest.reads() if read.carried and covered[read.carried].revision > 0]
    aged = random.Random(seed).choice(reads)
    spoilt = replace(aged, revision=covered[aged.carried].revision - 1)
    assert causal_reads.check(History.of(spoilt if read is aged else read for read in honest)) != []


def test_pages_of_different_moments_are_found() -> None:
    """The bug of a scan that does not keep to the revision of its first page."""
    found = [one_revision.check(an_honest_history(seed, pinned=False)) for seed in range(20)]
    assert sum(bool(violations) for violations in found) > 10
    assert all("which came after it" in str(violations[0]) for violations in found if violations)
    assert [one_revision.check(an_honest_history(seed)) for seed in range(20)] == [[]] * 20


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1 << 32))
def test_one_acknowledged_write_taken_out_of_a_copy_spoils_an_honest_history(seed: int) -> None:
    honest = an_honest_history(seed)
    lost = random.Random(seed).choice([write for write in honest.writes(Result.OK) if write.key.startswith("order/")])
    first, *others = honest.copies
    holed = replace(first, pairs={key: pair for key, pair in first.pairs.items() if key != lost.key})
    spoilt = History.of(honest, [holed, *others])
    assert no_lost_ack.check(spoilt) != []
    assert convergence.check(spoilt) != []


def test_the_honest_histories_hold_every_kind_of_event_that_the_checkers_judge() -> None:
    """Otherwise the property above would prove nothing."""
    operations = [operation for seed in range(5) for operation in an_honest_history(seed)]
    assert {operation.result for operation in operations} == set(Result)
    assert {Kind.PUT, Kind.COMPARE_AND_SET, Kind.READ} <= {operation.kind for operation in operations}
    assert any(operation.carried and operation.mod_revision for operation in operations)
    assert any(operation.element for operation in operations)
    assert any(operation.amount for operation in operations)
    assert any(an_honest_history(seed).exports for seed in range(5))


def test_an_empty_history_breaks_no_promise() -> None:
    assert check_all(History()) == []


def test_a_history_survives_the_way_through_its_file(tmp_path: Path) -> None:
    honest = an_honest_history(7)
    written = History(tmp_path / "history.jsonl")
    for operation in honest:
        written.append(operation)
    written.close()
    assert list(History.load(tmp_path / "history.jsonl")) == list(honest)


def test_a_run_that_dies_leaves_the_lines_that_were_written(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    first, *_ = an_honest_history(7)
    history.append(first)
    assert list(History.load(tmp_path / "history.jsonl")) == [first]
    history.close()
