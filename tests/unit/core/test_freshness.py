"""A replica never claims to be younger than it is, and knows nothing until it was told something."""

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core import freshness
from replicator.core.freshness import Freshness
from replicator.model.ids import LogIndex


def test_nothing_is_known_at_first() -> None:
    assert Freshness(LogIndex(7)).staleness_s(100.0) is None


def test_a_statement_about_what_is_applied_counts_at_once() -> None:
    state = Freshness(LogIndex(7))
    state.covers(LogIndex(7), 90.0)

    assert state.staleness_s(100.0) == 10.0


def test_a_statement_about_more_than_is_applied_counts_once_that_is_applied() -> None:
    state = Freshness(LogIndex(7))
    state.covers(LogIndex(9), 90.0)
    state.applied(LogIndex(8))
    assert state.staleness_s(100.0) is None
    state.applied(LogIndex(9))

    assert state.staleness_s(100.0) == 10.0


def test_an_older_statement_does_not_make_the_replica_older() -> None:
    state = Freshness(LogIndex(7))
    state.covers(LogIndex(7), 90.0)
    state.covers(LogIndex(6), 50.0)

    assert state.staleness_s(100.0) == 10.0


def test_of_two_statements_about_one_index_the_later_one_counts() -> None:
    state = Freshness(LogIndex(0))
    for as_of_s in (10.0, 30.0, 20.0):
        state.covers(LogIndex(5), as_of_s)
    state.applied(LogIndex(5))

    assert state.staleness_s(40.0) == 10.0


def test_staleness_is_never_negative() -> None:
    """A statement may be about a moment that lies ahead of the reading."""
    state = Freshness(LogIndex(1))
    state.covers(LogIndex(1), 50.0)

    assert state.staleness_s(49.0) == 0.0


def test_what_is_remembered_is_bounded_and_the_newest_statements_survive() -> None:
    state = Freshness(LogIndex(0))
    for index in range(1, 3 * freshness.PENDING_MAX):
        state.covers(LogIndex(index), float(index))
    state.applied(LogIndex(3 * freshness.PENDING_MAX))

    assert state.staleness_s(3.0 * freshness.PENDING_MAX) == 1.0


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("covers"), st.integers(0, 20), st.integers(0, 50)),
            st.tuples(st.just("applied"), st.integers(0, 4), st.just(0)),
        ),
        max_size=40,
    )
)
@settings(deadline=None)
def test_the_bound_rests_on_a_statement_whose_index_is_applied(steps: list[tuple[str, int, int]]) -> None:
    """Compared with remembering everything: never younger than that allows."""
    state, applied, statements = Freshness(LogIndex(0)), 0, list[tuple[int, int]]()
    for kind, number, as_of_s in steps:
        if kind == "covers":
            statements.append((number, as_of_s))
            state.covers(LogIndex(number), float(as_of_s))
        else:
            applied += number
            state.applied(LogIndex(applied))
        allowed = [as_of for index, as_of in statements if index <= applied]
        staleness_s = state.staleness_s(100.0)
        assert staleness_s is None or 100.0 - staleness_s <= max(allowed, default=float("-inf"))
