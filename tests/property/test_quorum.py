"""Majority arithmetic, against a twin that looks at every set of voters."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.quorum import is_majority, majority, others_for_majority

VOTERS_MAX = 9


def subsets(voters: int, count: int) -> list[frozenset[int]]:
    return [frozenset(chosen) for chosen in combinations(range(voters), count)]


def always_meet(voters: int, count: int) -> bool:
    """The naive twin: `count` is a majority if no two sets of so many voters are disjoint."""
    chosen = subsets(voters, count)
    return bool(chosen) and all(a & b for a in chosen for b in chosen)


@given(voters=st.integers(0, VOTERS_MAX), data=st.data())
def test_a_majority_is_what_always_meets_another_one(voters: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, voters))
    assert is_majority(count, voters) == always_meet(voters, count)


@given(voters=st.integers(1, VOTERS_MAX))
def test_the_least_majority_is_the_first_count_that_always_meets(voters: int) -> None:
    least = next(count for count in range(voters + 1) if always_meet(voters, count))
    assert majority(voters) == least
    assert others_for_majority(voters) == len(frozenset(range(least)) - {0})


@given(voters=st.integers(0, 1000))
def test_majorities_of_memberships_that_differ_by_one_voter_meet(voters: int) -> None:
    """Both majorities together count more than the voters of the greater membership."""
    assert majority(voters) + majority(voters + 1) > voters + 1


def test_of_no_voters_nobody_is_a_majority() -> None:
    assert not is_majority(0, 0)
