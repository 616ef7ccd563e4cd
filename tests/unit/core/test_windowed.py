"""A window forgets what is old, never what is recent, and is small."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.windowed import PARTS, WindowedMaximum


def test_nothing_is_known_at_first() -> None:
    assert WindowedMaximum(10.0).best is None


def test_what_is_not_fed_keeps_what_it_knew() -> None:
    """A leader at rest for an hour still knows its paths."""
    window = WindowedMaximum(10.0)
    window.add(5.0, 7.0)

    assert window.best == 7.0


@given(
    steps=st.lists(st.tuples(st.floats(0, 30), st.floats(-1e9, 1e9)), min_size=1, max_size=60),
    width=st.floats(0.5, 100),
)
def test_the_best_is_that_of_the_last_width_and_at_most_a_tenth_more(
    steps: list[tuple[float, float]], width: float
) -> None:
    """Compared with remembering everything."""
    window, at, seen = WindowedMaximum(width), 0.0, list[tuple[float, float]]()
    for forward, value in steps:
        at += forward
        seen.append((at, value))
        window.add(at, value)
    assert window.best is not None
    assert window.best >= max(value for when, value in seen if when >= at - width)
    assert window.best <= max(value for when, value in seen if when >= at - width * (1 + 1.001 / PARTS))
