"""A node waits longer only while elections are held and no leader lasts."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.struggle import FACTOR_MAX, KEEP_S, TIMEOUTS_MAX, Struggle


def test_while_leaders_last_nothing_is_stretched() -> None:
    struggle = Struggle()

    assert {struggle.look(float(now_s), settled=True, timeout_s=0.6) for now_s in range(10_000)} == {1}


def test_an_election_or_two_change_nothing() -> None:
    struggle = Struggle()
    for second in range(100):
        struggle.look(float(second), settled=second % 4 == 0, timeout_s=0.6)

    assert struggle.factor == 1


def test_without_a_leader_that_lasts_the_factor_doubles_up_to_its_bound() -> None:
    struggle, seen = Struggle(), list[int]()
    for second in range(10_000):
        seen.append(struggle.look(float(second), settled=False, timeout_s=0.6 * struggle.factor))

    assert sorted(set(seen)) == [1, 2, 4, 8, 16, 32]
    assert seen[int(TIMEOUTS_MAX * 0.6)] == 1
    assert seen[-1] == FACTOR_MAX


def test_what_was_stretched_stays_so_until_a_leader_has_lasted() -> None:
    struggle = Struggle()
    for second in range(20):
        struggle.look(float(second), settled=False, timeout_s=0.6)
    factor = struggle.factor
    assert factor > 1

    assert struggle.look(20.0, settled=True, timeout_s=0.6) == factor
    assert struggle.look(20.0 + KEEP_S, settled=True, timeout_s=0.6) == factor
    assert struggle.look(21.0 + KEEP_S, settled=True, timeout_s=0.6) == 1


@given(looks=st.lists(st.tuples(st.floats(0, 300), st.booleans()), max_size=100))
def test_the_factor_is_a_power_of_two_within_its_bounds(looks: list[tuple[float, bool]]) -> None:
    struggle, now_s = Struggle(), 0.0
    for forward_s, settled in looks:
        now_s += forward_s
        assert struggle.look(now_s, settled=settled, timeout_s=0.6) in {1, 2, 4, 8, 16, 32}
