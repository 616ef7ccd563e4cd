"""Which connections are closed: only as many as needed, from the largest crowd, the most idle first."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.connection_limits import Connection, surplus


def test_the_most_idle_of_the_largest_crowd_is_closed() -> None:
    crowd = [Connection(number, "a", float(number)) for number in range(4)]
    alone = [Connection(10, "b", 99.0)]

    assert surplus([*crowd, *alone], total_max=5, per_address_max=4) == []
    assert surplus([*crowd, *alone], total_max=4, per_address_max=4) == [crowd[3]]
    assert surplus([*crowd, *alone], total_max=5, per_address_max=2) == [crowd[2], crowd[3]]


CONNECTIONS = st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 100)), max_size=40)


@given(CONNECTIONS, st.integers(0, 30), st.integers(0, 20))
def test_what_stays_is_within_the_bounds_and_small_crowds_are_spared(
    drawn: list[tuple[str, float]], total_max: int, per_address_max: int
) -> None:
    connections = [Connection(number, *facts) for number, facts in enumerate(drawn)]
    closing = surplus(connections, total_max=total_max, per_address_max=per_address_max)
    stays = [each for each in connections if each not in closing]
    before, after = (Counter(each.address for each in some) for some in (connections, stays))

    assert len(closing) + len(stays) == len(connections)
    assert len(stays) <= total_max
    assert max(after.values(), default=0) <= per_address_max
    assert len(stays) == min(total_max, sum(min(count, per_address_max) for count in before.values())), "none too many"
    for address in before:
        if after[address] < min(before[address], per_address_max):
            assert after[address] >= max(after.values(), default=0) - 1, "a smaller crowd is spared"
        idle = [each.idle_s for each in closing if each.address == address]
        kept = [each.idle_s for each in stays if each.address == address]
        assert not idle or not kept or min(idle) >= max(kept), "the most idle first"
