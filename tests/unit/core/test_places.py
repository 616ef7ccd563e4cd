"""Places: bounded, and a crowd crowds out itself."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.pace import Pace
from replicator.core.places import Places


@dataclass(eq=False)
class Caller:
    origin: str


def test_a_crowd_crowds_out_its_own_oldest() -> None:
    places = Places[Caller](3)
    crowd = [Caller("a") for _ in range(2)]
    alone = Caller("b")
    for caller in (alone, *crowd):
        assert places.take(caller.origin, caller) is None

    late = Caller("c")
    assert places.take("c", late) is crowd[0]
    places.leave(crowd[0])  # it has left already
    assert len(places) == 3


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=80), st.integers(1, 6))
def test_places_are_bounded_and_only_the_largest_crowd_loses(steps: list[tuple[str, bool]], number: int) -> None:
    places = Places[Caller](number)
    held: list[Caller] = []
    for origin, leaves in steps:
        if leaves and held:
            places.leave(held.pop(0))
            continue
        caller = Caller(origin)
        counts = [sum(each.origin == name for each in held) for name in "abc"]
        loser = places.take(origin, caller)
        if loser is not None:
            assert len(held) == number
            assert sum(each.origin == loser.origin for each in held) == max(counts)
            assert loser is next(each for each in held if each.origin == loser.origin), "its oldest"
            held.remove(loser)
        held.append(caller)
        assert len(places) == len(held) <= number


def test_a_thing_is_said_at_most_once_in_its_time_and_then_how_often_it_happened() -> None:
    pace = Pace(say_every_s=10.0)

    assert [pace.happened("x", now_s) for now_s in (0.0, 1.0, 9.9)] == [1, 0, 0]
    assert pace.happened("y", 5.0) == 1
    assert pace.happened("x", 10.0) == 3
    assert pace.happened("x", 11.0) == 0
